"""Is a model that was written the model that was meant? Part of every write."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from ..errors import LingraftError, SelfCheckError
from ..vocabulary import all_special_ids, special_ids, tokenizer_hash
from .layout import vocabulary_parameters
from .models import LanguageModel, load_model

#: role of a parameter -> smallest and largest norm
NormBounds = Mapping[str, tuple[float, float]]

#: English, digits and other scripts, beside the texts that are given
SAMPLE = ("It was 12:45, and nobody had seen the cat.", "Où est-il ? Где он? 它在哪里？ वह कहाँ है?")

#: how much larger or smaller the norm of an ordinary token's row may be than any of the source's
_SLACK = 10.0

#: the same against the median, where the source is not known
_FACTOR = 1000.0

#: by how much outputs may differ, as a share of the largest one (of 1 where that is smaller): decoders have hidden
#: states in the thousands, beside which float32 rounds the rest away. Weights are compared bit by bit.
_TOLERANCE = 1e-4

#: attention kernels that a model can be given to be compared with one that ran them: they round differently
_KERNELS = ("eager", "sdpa")

#: tokens of a text that models are run on: what they give for each is kept, and is as wide as the vocabulary
_LONGEST = 128

#: in place of the digest of a parameter that is no number somewhere
_NO_NUMBER = "no number"

_CONFIGS = ("config", "generation_config")


def norm_bounds(source: LanguageModel) -> NormBounds:
    """Between which norms a mixture of a model's rows is no outlier, by role: ``input`` and, untied, ``output``.

    A mixture is no longer than the longest row in it; it is shorter than the shortest where rows point apart, the
    shortest of all being the mean of all.
    """
    found = {}
    for role, part in vocabulary_parameters(source.model).items():
        if part.ndim > 1:
            rows = part.detach()[: len(source.tokenizer)]
            lengths = rows.norm(dim=1, dtype=torch.float32)
            shortest = min(float(lengths[lengths > 0].min()), float(rows.mean(0, dtype=torch.float32).norm()))
            found[role] = (shortest / _SLACK, float(lengths.max()) * _SLACK)
    return found


@dataclass(frozen=True, eq=False)
class Expected:
    """What the self-check has to find in a folder; the model that was written need not be in memory for it.

    has_head: whether there is a language-modelling head. tokenizer: the one that was written. max_length: tokens a text
    may have. weights, body: digests of the parameters of the model and of its base model, by name, for a model of
    ``kind``, ``dtype`` and ``stored_dtype``. special: ids in each config. texts: of both languages. outputs: of the
    model for the ids of each text that has any, for a sentence encoder its embeddings too: (1, tokens, V)
    logits, or hidden states where there is no head, and (1, width). kernel: of its attention.
    """

    kind: str
    has_head: bool
    dtype: torch.dtype
    stored_dtype: torch.dtype
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    special: dict[str, dict[str, Any]]
    weights: dict[str, str]
    body: dict[str, str]
    texts: list[str]
    outputs: list[list[Tensor]]
    kernel: str | None = None


def expected_of(written: LanguageModel, texts: Sequence[str]) -> Expected:
    """What `check_folder` has to find of a model that was just written, so that the model itself can be let go.

    texts: of both languages, further ones to `SAMPLE`; the model runs on the first 128 tokens of each.
    """
    texts = [*SAMPLE, *texts]
    weights, body = _digests(written.model, written.model.base_model)
    return Expected(
        written.kind, written.has_head, written.model.dtype, written.stored_dtype or written.model.dtype,
        written.tokenizer, written.max_length,
        {kind: _special(getattr(written.model, kind, None)) for kind in _CONFIGS},
        weights, body, texts, list(_outputs(written, written, _batches(written.tokenizer, written.max_length, texts))),
        written.model.config._attn_implementation,
    )  # fmt: skip


def self_check(
    written: LanguageModel, folder: Path, texts: Sequence[str], bounds: NormBounds | None = None
) -> dict[str, Any]:
    """Reloads a folder as a fresh object and compares it with the model in memory, see `check_folder`.

    texts, bounds: as for `expected_of` and `check_folder`.

    Both are in memory then. Where the one that was written is of no further use, `expected_of` it and `check_folder`
    do the same with one at a time.
    """
    return check_folder(expected_of(written, texts), folder, bounds)


def check_folder(expected: Expected, folder: Path, bounds: NormBounds | None = None) -> dict[str, Any]:
    """Loads a folder as a fresh object and compares it with what was to be written.

    expected: what `expected_of` remembers of the model that was written. bounds: `norm_bounds` of the model whose rows
    were mixed; without them a row is an outlier if its norm is a thousandth of the median or a thousand times as much.

    Checks that every weight is the same to the last bit and of the type it was to be stored in; that config and weights
    have as many rows as the tokenizer has tokens, and special ids in the config are those meant; that no row of an
    ordinary token is zero, not finite, or an outlier in norm; that the tokenizer reads back as the same and special
    tokens are read as themselves; and that outputs, for a sentence encoder also its embeddings, agree on all texts
    within 1e-4, or where the largest output is above 1 within 1e-4 of that. Returns what run.json says of it:
    ``max_difference`` of any output, ``texts`` and the ``norms`` of rows.
    Raises SelfCheckError, which says what differs.
    """
    try:
        plain = load_model(folder, dtype=expected.dtype)
        # a sentence encoder may have been saved with its head, which its pipeline has no use for
        same = plain.has_head == expected.has_head
        loaded = plain if same else load_model(folder, head=True, dtype=expected.dtype)
    except LingraftError as error:
        raise SelfCheckError(f"The model written to '{folder}' does not load: {error}") from None
    _check_config(expected, loaded, folder)
    _check_tokenizer(expected, loaded, folder)
    norms = _check_rows(loaded, folder, bounds or {})
    if loaded.stored_dtype != expected.stored_dtype:
        raise SelfCheckError(f"'{folder}': weights are {loaded.stored_dtype}; {expected.stored_dtype} was meant.")
    weights, body = _digests(loaded.model, plain.model.base_model)
    _check_weights(expected.body, body, folder)
    _check_weights(expected.weights, weights, folder, but="pooler")
    for each in (loaded, plain):
        if expected.kernel in _KERNELS and each.model.config._attn_implementation != expected.kernel:
            each.model.set_attn_implementation(expected.kernel)
    worst, off = 0.0, False
    batches = _batches(expected.tokenizer, expected.max_length, expected.texts)
    for before, after in zip(expected.outputs, _outputs(loaded, plain, batches, expected.kind), strict=True):
        for one, other in zip(before, after, strict=True):
            difference = float((one - other).abs().max())
            worst = max(worst, difference if difference == difference else math.inf)
            off |= not difference <= _TOLERANCE * max(1.0, float(one.abs().max()))
    if off:
        raise SelfCheckError(f"'{folder}': outputs after reading back differ by {worst:g}.")
    return {"max_difference": worst, "texts": len(expected.texts), "norms": norms}


def _outputs(
    model: LanguageModel, encoder: LanguageModel, batches: Iterable[Tensor], kind: str | None = None
) -> Iterator[list[Tensor]]:
    """What a model gives for every batch and, where it was meant as a sentence encoder, the embeddings of encoder."""
    for batch in batches:
        mask = torch.ones_like(batch)
        with torch.inference_mode():
            found = [model.model(input_ids=batch, attention_mask=mask)[0]]
            if (kind or model.kind) == "sentence":
                found.append(encoder.embed(batch, mask))
        yield found


def _batches(tokenizer: PreTrainedTokenizerBase, max_length: int, texts: Sequence[str]) -> Iterator[Tensor]:
    """int64 (1, length) of every text that is any."""
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=min(max_length, _LONGEST))["input_ids"]
        if ids:
            yield torch.tensor([ids])


def _check_config(expected: Expected, loaded: LanguageModel, folder: Path) -> None:
    rows, size = vocabulary_parameters(loaded.model)["input"].shape[0], len(expected.tokenizer)
    said = loaded.model.config.get_text_config().vocab_size
    if rows < size or said != rows:
        raise SelfCheckError(f"'{folder}': {rows:,} embedding rows, vocab_size {said:,}, {size:,} tokens.")
    for kind, before in expected.special.items():
        after = _special(getattr(loaded.model, kind, None))
        for name in sorted(before.keys() | after.keys()):
            found = after.get(name)
            if before.get(name) != found or any(not 0 <= index < size for index in _listed(found)):
                raise SelfCheckError(
                    f"'{folder}': the {kind.replace('_', ' ')} has {name} {found}; {before.get(name)} was meant, of "
                    f"{size:,} tokens."
                )


def _special(config: Any) -> dict[str, Any]:
    """Special ids in a config by name, those that are set."""
    values = {} if config is None else vars(config)
    return {name: value for name, value in values.items() if name.endswith("_token_id") and value is not None}


def _listed(value: Any) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _check_rows(loaded: LanguageModel, folder: Path, bounds: NormBounds) -> dict[str, float]:
    """The smallest, middle and largest norm of the rows of ordinary tokens."""
    size, found = len(loaded.tokenizer), {}
    ordinary = torch.ones(size, dtype=torch.bool)
    ordinary[sorted(all_special_ids(loaded.tokenizer))] = False  # which are the source's, whatever they are
    parts = vocabulary_parameters(loaded.model)
    for role, rows in parts.items():
        if not (finite := torch.isfinite(rows.detach().reshape(rows.shape[0], -1)).all(1)).all():
            raise SelfCheckError(_rows_say(folder, role, ~finite, "no numbers"))
    for role in ("input", "output"):
        if role not in parts or not ordinary.any():
            continue
        norms = parts[role].detach()[:size].norm(dim=1, dtype=torch.float32)
        if (zero := ordinary & (norms == 0)).any():
            raise SelfCheckError(_rows_say(folder, role, zero, "zero"))
        middle = float(norms[ordinary].median())
        low, high = bounds.get(role, (middle / _FACTOR, middle * _FACTOR))
        if (outside := ordinary & ((norms < low) | (norms > high))).any():
            what = f"outliers, their norms outside {low:.3g} to {high:.3g}"
            raise SelfCheckError(_rows_say(folder, role, outside, what))
        if role == "input":
            mine = norms[ordinary]
            found = {"min": float(mine.min()), "median": float(mine.median()), "max": float(mine.max())}
    return found


def _rows_say(folder: Path, role: str, wrong: Tensor, what: str) -> str:
    ids = wrong.nonzero().flatten().tolist()
    return f"'{folder}': {len(ids)} rows of the {role} embeddings are {what}, first of token {ids[0]}."


def _check_weights(before: dict[str, str], after: dict[str, str], folder: Path, but: str | None = None) -> None:
    """All parameters the same, but for those with a word in their names; a masked model has no pooler to load."""
    for name in sorted(before.keys() | after.keys()):
        if but and but in name:
            continue
        if name not in before or name not in after:
            raise SelfCheckError(f"'{folder}': '{name}' is in {'the files alone' if name in after else 'no file'}.")
        if before[name] != after[name] or before[name] == _NO_NUMBER:
            raise SelfCheckError(f"'{folder}': '{name}' reads back otherwise than it was written.")


def _digests(*models: nn.Module) -> list[dict[str, str]]:
    """Of the parameters of each model, by name; one that several have is worked out once."""
    known: dict[int, str] = {}
    found = []
    for model in models:
        digests = {}
        for name, parameter in model.named_parameters():
            if id(parameter) not in known:
                known[id(parameter)] = _digest(parameter.detach())
            digests[name] = known[id(parameter)]
        found.append(digests)
    return found


def _digest(tensor: Tensor) -> str:
    """Of type, shape and every bit; all that hold something that is no number are one, which equals nothing."""
    tensor = tensor.cpu().contiguous()
    if tensor.numel() and tensor.is_floating_point() and bool(tensor.min().isnan()):
        return _NO_NUMBER
    bits = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    bits.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return bits.hexdigest()


def _check_tokenizer(expected: Expected, loaded: LanguageModel, folder: Path) -> None:
    ours, theirs = expected.tokenizer, loaded.tokenizer
    for text in expected.texts:
        ids = [each(text, truncation=True, max_length=expected.max_length)["input_ids"] for each in (ours, theirs)]
        if ids[0] != ids[1]:
            raise SelfCheckError(f"'{folder}': the tokenizer read back gives other ids than the one written.")
    if tokenizer_hash(ours) != tokenizer_hash(theirs) or special_ids(ours) != special_ids(theirs):
        raise SelfCheckError(
            f"'{folder}': the tokenizer read back is not the one written, or has other special tokens."
        )
    for identifier in sorted(all_special_ids(theirs)):
        token = str(theirs.convert_ids_to_tokens(identifier))
        read = theirs(token, add_special_tokens=False)["input_ids"]
        if read != [identifier] or theirs.convert_tokens_to_ids(token) != identifier:
            raise SelfCheckError(f"'{folder}': the special token '{token}', {identifier}, is read as {read}.")
