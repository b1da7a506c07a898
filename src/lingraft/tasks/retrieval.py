"""Translation retrieval: does a sentence lie nearest to its own translation among all sentences of the test?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..corpus import TokenSequences
from ..errors import CorpusError
from ..evidence import encode
from ..surgery import LanguageModel
from ..training.data import pad
from ..training.distillation import framed
from .intervals import bootstrap_interval

Array = np.ndarray[Any, Any]

#: rows of similarity held at once
_BLOCK = 2048


def embed_sentences(language_model: LanguageModel, lines: list[str], batch_size: int = 64) -> Array:
    """Unit sentence vectors, float32 (lines, width), in the order of the lines.

    language_model: of any kind; one that is no sentence encoder gives the mean of its hidden states. batch_size:
    sentences that are run at a time.
    """
    text: TokenSequences = framed(language_model, encode(language_model.tokenizer, lines))
    order = np.argsort(text.lengths, kind="stable")
    model = language_model.model
    device = next(model.parameters()).device
    result: Array = np.zeros((0, 0), np.float32)
    with torch.inference_mode():
        for start in range(0, order.size, batch_size):
            batch = order[start : start + batch_size]
            ids, mask = pad([text[k] for k in batch], language_model.tokenizer.pad_token_id or 0)
            embedded = language_model.embed(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
            vectors = torch.nn.functional.normalize(embedded.float(), dim=-1).cpu().numpy()
            if not result.size:
                result = np.zeros((len(lines), vectors.shape[1]), np.float32)
            result[batch] = vectors
    return result


def nearest(queries: Array, candidates: Array) -> Array:
    """For each row of queries the number of the most similar candidate, by dot product, int64 (queries,)."""
    blocks = range(0, len(queries), _BLOCK)
    return np.concatenate(
        [np.zeros(0, np.int64), *((queries[k : k + _BLOCK] @ candidates.T).argmax(1) for k in blocks)]
    )


def retrieval_scores(english: Array, foreign: Array) -> dict[str, Any]:
    """Share of sentences, in both directions, whose nearest sentence of the other language is their translation.

    ``intervals`` has the 95 % interval of each, by bootstrap over the sentences that are looked for.
    english, foreign: unit vectors, row k of one translates row k of the other. CorpusError if there are none, or more
    of one than of the other.
    """
    if not len(english) or len(english) != len(foreign):
        raise CorpusError(f"Retrieval needs pairs of sentences: {len(english):,} English, {len(foreign):,} foreign.")
    own = np.arange(len(english))
    hits = {"en_to_xx": nearest(english, foreign) == own, "xx_to_en": nearest(foreign, english) == own}
    return {
        "task": "retrieval",
        **{name: float(found.mean()) for name, found in hits.items()},
        "n": len(english),
        "intervals": {name: list(bootstrap_interval(found, np.ones(own.size))) for name, found in hits.items()},
    }


def evaluate_retrieval(source: LanguageModel, target: LanguageModel, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Retrieval between English sentences under the source model and their translations under the target model.

    pairs: English first.
    """
    return retrieval_scores(
        embed_sentences(source, [pair[0] for pair in pairs]), embed_sentences(target, [pair[1] for pair in pairs])
    )
