"""What an initialiser takes and what it makes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ...errors import RecipeError
from ...evidence import TranslationTable

if TYPE_CHECKING:
    from ...evidence.alignment import Lexicon
    from ...evidence.vectors import WordVectors

Method = Literal["lingraft", "ramen", "wechsel", "focus", "mean", "random"]
METHODS: tuple[Method, ...] = get_args(Method)

#: what becomes of a token without evidence; d is the width of the rows
#:
#: - ``normal``: drawn from a normal with the mean and standard deviation of the source's rows in each dimension; a bias
#:   is the source's mean bias (WECHSEL, FOCUS; for a bias they say nothing)
#: - ``mean``: the mean of the source's rows
#: - ``ramen``: drawn from N(0, 1/d^2), the bias 0, as Tran (2020) writes
#: - ``ramen-code``: drawn with standard deviation d^-0.5 instead of 1/d, which is what the published program does
Unknown = Literal["normal", "mean", "ramen", "ramen-code"]

#: the kinds of inputs
Input = Literal["table", "bitext", "vectors", "lexicon", "text"]

#: what each method works from: the first of these sets of inputs that is given; lingraft takes all evidence there is,
#: and text for what is predicted on average
NEEDS: dict[Method, tuple[tuple[Input, ...], ...]] = {
    "lingraft": (("table",), ("bitext",), ("lexicon",), ("vectors",)),
    "ramen": (("bitext",), ("vectors", "lexicon"), ("vectors",)),
    "wechsel": (("vectors", "lexicon"),),
    "focus": (("text",),),
    "mean": ((),),
    "random": ((),),
}

#: what a table can be made of
EVIDENCE: tuple[Input, ...] = ("bitext", "lexicon", "vectors")

#: UTF-8 bytes of running text that a mean prediction is calibrated on: a sample of more would say nothing new
CALIBRATION_BYTES = 1 << 22

_DESCRIBED: dict[Input, str] = {
    "table": "a translation table (--table)",
    "bitext": "sentence pairs (--bitext)",
    "vectors": "word vectors of both languages (--vectors EN,XX)",
    "lexicon": "a dictionary (--lexicon)",
    "text": "text of the new language (--text)",
}

#: called with the share done, from 0 to 1, and a few words
OnProgress = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class Initialisation:
    """How the rows of a new vocabulary are made: mixtures of the source's rows, and a rule for the others.

    table: p(source token | target token), rows of provenance ``fallback`` empty. unknown: what becomes of those.
    balanced: whether mixtures are brought nearer to the norm of the source's rows (`lingraft.surgery.BALANCE`).
    calibrated: whether the mean prediction is made to agree with text afterwards
    (`lingraft.training.calibrate_output`).
    """

    table: TranslationTable
    unknown: Unknown = "normal"
    balanced: bool = False
    calibrated: bool = False

    @classmethod
    def lingraft(cls, table: TranslationTable) -> Initialisation:
        """What this project does with a table."""
        return cls(table, "normal", balanced=True, calibrated=True)


@dataclass(frozen=True, eq=False)
class InitialiserInputs:
    """What a method may need besides the two tokenizers; None or empty for what there is not.

    table: made before. pairs: sentence pairs, English first. english_vectors, foreign_vectors: word vectors, each in a
    space of its own. lexicon: a bilingual dictionary of words. text: lines of the new language. copy_shared: whether a
    table that is made copies what both have (`build_table`). seed: of what is trained on the way (FOCUS); rows without
    evidence are drawn later. on_progress: told how far a method is.
    """

    table: TranslationTable | None = None
    pairs: Sequence[tuple[str, str]] = ()
    english_vectors: WordVectors | None = None
    foreign_vectors: WordVectors | None = None
    lexicon: Lexicon | None = None
    text: Sequence[str] = ()
    copy_shared: bool = False
    seed: int = 0
    on_progress: OnProgress | None = None

    @property
    def running_text(self) -> Sequence[str]:
        """Lines of the new language: the text, else that side of the sentence pairs."""
        return self.text or [foreign for _, foreign in self.pairs]

    @property
    def given(self) -> frozenset[Input]:
        """The kinds of inputs that are there."""
        there: dict[Input, bool] = {
            "table": self.table is not None,
            "bitext": bool(self.pairs),
            "vectors": self.english_vectors is not None and self.foreign_vectors is not None,
            "lexicon": self.lexicon is not None,
            "text": bool(self.text),
        }
        return frozenset(kind for kind, is_there in there.items() if is_there)


def check_method(method: str) -> Method:
    """The method of that name; RecipeError if there is none."""
    for known in METHODS:
        if method == known:
            return known
    raise RecipeError(f"There is no method '{method}' to make new rows; it is one of {', '.join(METHODS)}.")


def inputs_of(method: Method, given: Collection[Input]) -> tuple[Input, ...]:
    """Which of the inputs that are given a method works from; RecipeError, naming what it needs, if they do not do."""
    for wanted in NEEDS[method]:
        if set(wanted) <= set(given):
            if method != "lingraft":
                return wanted
            evidence = wanted if wanted == ("table",) else tuple(kind for kind in EVIDENCE if kind in given)
            return (*evidence, "text") if "text" in given else evidence
    ways = ", or ".join(" and ".join(_DESCRIBED[kind] for kind in wanted) for wanted in NEEDS[method])
    there = ", ".join(_DESCRIBED[kind] for kind in _DESCRIBED if kind in given)
    raise RecipeError(f"Method '{method}' needs {ways}; given: {there or 'none of these'}.")


def possible_methods(given: Collection[Input]) -> tuple[Method, ...]:
    """The methods that can work from these inputs."""
    return tuple(method for method in METHODS if any(set(wanted) <= set(given) for wanted in NEEDS[method]))
