"""The default: the translation table that lingraft makes of all evidence."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from ...evidence import Sources, build_table
from .interface import Initialisation, InitialiserInputs


def lingraft(
    source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, inputs: InitialiserInputs
) -> Initialisation:
    """The table that was given, else one of all evidence; rows without any get the source's mean and spread.

    The mean prediction is to be calibrated on text of the new language, where there is some.
    """
    table = inputs.table
    if table is None:
        evidence, _ = sources_of(inputs).gather(source, target, inputs.on_progress)
        table = build_table(source, target, evidence, copy_shared=inputs.copy_shared)
    table.check_tokenizers(source, target)
    return Initialisation.lingraft(table)


def sources_of(inputs: InitialiserInputs) -> Sources:
    """The evidence among the inputs."""
    english, foreign = inputs.english_vectors, inputs.foreign_vectors
    return Sources(
        pairs=inputs.pairs,
        lexicons={} if inputs.lexicon is None else {"given": inputs.lexicon},
        vectors=None if english is None or foreign is None else (english, foreign),
    )
