"""The default: the translation table that lingraft makes of all evidence."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from ...evidence import bitext_counts, build_table
from .interface import Initialisation, InitialiserInputs


def lingraft(
    source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, inputs: InitialiserInputs
) -> Initialisation:
    """The table that was given, else one made of the bitext; rows without evidence get the source's mean and spread."""
    table = inputs.table
    if table is None:
        counts, _ = bitext_counts(list(inputs.pairs), source, target, on_progress=inputs.on_progress)
        table = build_table(source, target, counts)
    table.check_tokenizers(source, target)
    return Initialisation(table, "normal")
