"""Ways to make the rows of a new vocabulary, behind one interface.

A method makes an `Initialisation`: for every target token a mixture of source tokens, and a rule for the tokens of
which it knows nothing. `lingraft.surgery.graft_with` does with it the same for all methods: every parameter with one
row a token, input embeddings, output embeddings and bias, becomes E_f = A E_e. Special tokens keep their own rows, by
role, under every method.
"""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from .interface import (
    CALIBRATION_BYTES,
    METHODS,
    Initialisation,
    InitialiserInputs,
    Input,
    Method,
    OnProgress,
    Unknown,
    check_method,
    inputs_of,
    possible_methods,
)
from .rows import table_of

__all__ = [
    "CALIBRATION_BYTES",
    "METHODS",
    "Initialisation",
    "InitialiserInputs",
    "Input",
    "Method",
    "OnProgress",
    "Unknown",
    "check_method",
    "initialise",
    "inputs_of",
    "possible_methods",
    "table_of",
]


def initialise(
    method: Method, source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase, inputs: InitialiserInputs
) -> Initialisation:
    """How a method makes the target tokenizer's rows out of the source's.

    ``lingraft``: the translation table, or one made of the bitext. ``ramen``, ``wechsel``, ``focus``: as their papers
    say, see the modules of these names. ``mean`` and ``random`` know special tokens only; all others get the mean of
    the source's rows, or are drawn with its mean and standard deviation. Raises RecipeError if an input is missing,
    TableError for a table of other tokenizers, CorpusError for inputs that do not fit each other.
    """
    inputs_of(method, inputs.given)
    # each is loaded when it is wanted: the aligner and what trains vectors are not wanted for a mean
    if method == "ramen":
        from .ramen import ramen

        return ramen(source, target, inputs)
    if method == "wechsel":
        from .wechsel import wechsel

        return wechsel(source, target, inputs)
    if method == "focus":
        from .focus import focus

        return focus(source, target, inputs)
    if method == "lingraft":
        from .mixture import lingraft

        return lingraft(source, target, inputs)
    return Initialisation(table_of(source, target, []), "mean" if method == "mean" else "normal")
