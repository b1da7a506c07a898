"""Is a model that was written the model that was meant? Part of every write."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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


def self_check(
    written: LanguageModel, folder: Path, texts: Sequence[str], bounds: NormBounds | None = None
) -> dict[str, Any]:
    """Reloads a folder as a fresh object and compares it with the model in memory.

    texts: of both languages, further ones to `SAMPLE`. bounds: `norm_bounds` of the model whose rows were mixed;
    without them a row is an outlier if its norm is a thousandth of the median or a thousand times as much.

    Checks that every weight is the same to the last bit and of the type it was to be stored in; that config and weights
    have as many rows as the tokenizer has tokens, and special ids in the config are those meant; that no row of an
    ordinary token is zero, not finite, or an outlier in norm; that the tokenizer reads back as the same and special
    tokens are read as themselves; and that outputs, for a sentence encoder also its embeddings, agree within 1e-4 on
    all texts. Returns what run.json says of it: ``max_difference`` of any output, ``texts`` and the ``norms`` of rows.
    Raises SelfCheckError, which says what differs.
    """
    try:
        plain = load_model(folder, dtype=written.model.dtype)
        # a sentence encoder may have been saved with its head, which its pipeline has no use for
        loaded = plain if plain.has_head == written.has_head else load_model(folder, head=True, dtype=plain.model.dtype)
    except LingraftError as error:
        raise SelfCheckError(f"The model written to '{folder}' does not load: {error}") from None
    _check_config(written, loaded, folder)
    _check_tokenizer(written, loaded, folder, texts := [*SAMPLE, *texts])
    norms = _check_rows(loaded, folder, bounds or {})
    stored = written.stored_dtype or written.model.dtype
    if loaded.stored_dtype != stored:
        raise SelfCheckError(f"'{folder}': weights are {loaded.stored_dtype}; {stored} was meant.")
    _check_weights(written.model.base_model, plain.model.base_model, folder)
    _check_weights(written.model, loaded.model, folder, but="pooler")
    worst = 0.0
    with torch.inference_mode():
        for batch in _batches(written, texts):
            mask = torch.ones_like(batch)
            pairs = [[each.model(input_ids=batch, attention_mask=mask)[0] for each in (written, loaded)]]
            if written.kind == "sentence":
                pairs.append([each.embed(batch, mask) for each in (written, plain)])
            for before, after in pairs:
                difference = float((before - after).abs().max())
                worst = max(worst, difference if difference == difference else math.inf)
    if not worst <= 1e-4:
        raise SelfCheckError(f"'{folder}': outputs after reading back differ by {worst:g}.")
    return {"max_difference": worst, "texts": len(texts), "norms": norms}


def _batches(model: LanguageModel, texts: Sequence[str]) -> Iterator[Tensor]:
    """int64 (1, length) of every text that is any."""
    for text in texts:
        ids = model.tokenizer(text, truncation=True, max_length=model.max_length)["input_ids"]
        if ids:
            yield torch.tensor([ids])


def _check_config(written: LanguageModel, loaded: LanguageModel, folder: Path) -> None:
    rows, size = vocabulary_parameters(loaded.model)["input"].shape[0], len(written.tokenizer)
    said = loaded.model.config.get_text_config().vocab_size
    if rows < size or said != rows:
        raise SelfCheckError(f"'{folder}': {rows:,} embedding rows, vocab_size {said:,}, {size:,} tokens.")
    for kind in ("config", "generation_config"):
        before, after = _special(getattr(written.model, kind, None)), _special(getattr(loaded.model, kind, None))
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


def _check_weights(written: nn.Module, loaded: nn.Module, folder: Path, but: str | None = None) -> None:
    """All parameters the same, but for those with a word in their names; a masked model has no pooler to load."""
    before, after = dict(_named(written)), dict(_named(loaded))
    for name in sorted(before.keys() | after.keys()):
        if but and but in name:
            continue
        if name not in before or name not in after:
            raise SelfCheckError(f"'{folder}': '{name}' is in {'the files alone' if name in after else 'no file'}.")
        if before[name].shape != after[name].shape or not torch.equal(before[name], after[name]):
            raise SelfCheckError(f"'{folder}': '{name}' reads back otherwise than it was written.")


def _named(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters():
        yield name, parameter.detach().cpu()


def _check_tokenizer(written: LanguageModel, loaded: LanguageModel, folder: Path, texts: Sequence[str]) -> None:
    ours, theirs = written.tokenizer, loaded.tokenizer
    for text in texts:
        ids = [each(text, truncation=True, max_length=written.max_length)["input_ids"] for each in (ours, theirs)]
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
