"""Is a model that was written the model that was meant? Part of every write."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from ..errors import LingraftError, SelfCheckError
from .graft import vocabulary_parameters
from .models import LanguageModel, load_model


def self_check(written: LanguageModel, folder: Path, texts: list[str]) -> dict[str, float]:
    """Reloads a folder and compares it with the model in memory.

    Checks that the tokenizer gives the same ids, that the outputs agree within 1e-4, that config and weights have as
    many rows as the tokenizer has tokens, and that no embedding row is zero or not finite. Returns the largest
    difference of any output; raises SelfCheckError.
    """
    try:
        loaded = load_model(folder)
    except LingraftError as error:
        raise SelfCheckError(f"The model written to '{folder}' does not load: {error}") from None
    tokenizer = written.tokenizer
    size = len(tokenizer)
    rows = vocabulary_parameters(loaded.model)["input"]
    if rows.shape[0] < size or loaded.model.config.get_text_config().vocab_size != rows.shape[0]:
        raise SelfCheckError(
            f"'{folder}': {rows.shape[0]:,} embedding rows, vocab_size {loaded.model.config.vocab_size:,}, "
            f"{size:,} tokens."
        )
    norms = rows[:size].float().norm(dim=1)
    zero = norms == 0
    if tokenizer.pad_token_id is not None:  # which many models have at zero
        zero[tokenizer.pad_token_id] = False
    silent = (~torch.isfinite(norms) | zero).nonzero().flatten().tolist()
    if silent:
        raise SelfCheckError(
            f"'{folder}': {len(silent)} embedding rows are zero or no numbers, first of token {silent[0]}."
        )
    worst = 0.0
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=written.max_length)["input_ids"]
        if loaded.tokenizer(text, truncation=True, max_length=written.max_length)["input_ids"] != ids:
            raise SelfCheckError(f"'{folder}': the tokenizer read back gives other ids than the one written.")
        if not ids:
            continue
        batch = torch.tensor([ids])
        with torch.inference_mode():
            before = written.model(input_ids=batch, attention_mask=torch.ones_like(batch))[0]
            after = loaded.model(input_ids=batch, attention_mask=torch.ones_like(batch))[0]
            if before.shape != after.shape:  # a head that only one of them carries: compare what both have
                before = written.model.base_model(input_ids=batch)[0]
                after = loaded.model.base_model(input_ids=batch)[0]
        difference = float((before - after).abs().max())
        worst = max(worst, difference if difference == difference else math.inf)
    if not worst <= 1e-4:
        raise SelfCheckError(f"'{folder}': outputs after reading back differ by {worst:g}.")
    return {"max_difference": worst}
