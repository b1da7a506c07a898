"""How finely a tokenizer cuts a text: the counts that fertility is made of."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from .special import special_ids
from .train import plain_backend

_LINES_AT_ONCE = 10_000


def text_counts(tokenizer: PreTrainedTokenizerBase, lines: Sequence[str]) -> dict[str, int]:
    """What a tokenizer makes of some lines of text, without special tokens, padding or truncation.

    ``lines``; ``words``, as white space divides them; ``characters`` that are no white space; ``bytes`` of UTF-8, white
    space included; ``tokens``, of which ``unknown`` ones stand for text that the tokenizer cannot write. Fertility is
    tokens over words (Rust et al. 2021, https://aclanthology.org/2021.acl-long.243).
    """
    backend = plain_backend(tokenizer)
    unknown = special_ids(tokenizer).get("unk", -1)
    words = [line.split() for line in lines]
    counts = {
        "lines": len(lines),
        "words": sum(map(len, words)),
        "characters": sum(len(word) for line in words for word in line),
        "bytes": sum(len(line.encode()) for line in lines),
        "tokens": 0,
        "unknown": 0,
    }
    for start in range(0, len(lines), _LINES_AT_ONCE):
        some = list(lines[start : start + _LINES_AT_ONCE])
        for encoding in backend.encode_batch_fast(some, add_special_tokens=False):
            counts["tokens"] += len(encoding.ids)
            counts["unknown"] += encoding.ids.count(unknown)
    return counts
