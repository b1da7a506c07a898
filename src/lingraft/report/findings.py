"""What is wrong or weak about a run, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

from ..correspondence import UNALIGNED, WORTHLESS
from .vocabulary import parity

Severity = Literal["warning", "hint"]

#: shares of the vocabulary and of the running text without evidence from which on it is said
_EMPTY_ROWS, _EMPTY_TEXT = 0.1, 0.02

#: fewer sentence pairs than this leave most words of a language with a link or two
_FEW_PAIRS = 20_000

#: the design's own limit for English that is to stay where it was
_ENGLISH_COSINE = 0.99

#: share of running text that a tokenizer may give up on
_UNKNOWN = 0.005

#: share of malformed lines from which on somebody should look at the file
_MALFORMED = 0.001

#: where fewer translations are found than this, the model is of little use for search
_POOR_RETRIEVAL = 0.5

#: a vocabulary that needs this much more tokens than English for the same sentences is slow, and cuts words to pieces
_LONGER = 1.5

#: of fewer lines of the meter than this no loss is judged
_FEWEST_LINES = 8


@dataclass(frozen=True)
class Finding:
    """One thing to know. severity: ``warning`` where the result suffers, ``hint`` where it could be better.

    language: whose it is, or None for the run's. advice: what to do.
    """

    severity: Severity
    what: str
    advice: str
    language: str | None = None

    def __str__(self) -> str:
        return f"{self.language + ': ' if self.language else ''}{self.what} {self.advice}".strip()


def find_all(numbers: dict[str, Any], by_language: dict[str, dict[str, dict[str, Any]]]) -> list[Finding]:
    """Everything to be said of a run, warnings first.

    numbers: what run.json holds. by_language: ``corpus``, ``vocabulary``, ``table`` and ``scores`` of each language.
    """
    found = [*_training(numbers.get("training"), numbers)]
    for language, own in by_language.items():
        named = language if len(by_language) > 1 else None
        of_it = (*_corpus(own), *_vocabulary(own), *_table(own), *_scores(own))
        found += [replace(finding, language=named) for finding in of_it]
    notes = [str(note) for note in numbers.get("notes", []) if not str(note).startswith(UNALIGNED)]
    found += [Finding("hint", _sentence(note), "") for note in notes]
    return sorted(found, key=lambda finding: finding.severity != "warning")


def _sentence(note: str) -> str:
    return note[:1].upper() + note[1:] + ("" if note.endswith((".", "!", "?")) else ".")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _corpus(own: dict[str, Any]) -> Iterator[Finding]:
    corpus = own["corpus"]
    pairs = corpus.get("bitext")
    if pairs is None:
        yield Finding(
            "hint", "There were no sentence pairs.",
            "They are the best evidence there is, and a sentence encoder is trained on nothing else: --bitext.",
        )  # fmt: skip
    elif pairs["kept"] < _FEW_PAIRS:
        yield Finding(
            "hint", f"The bitext is small: {pairs['kept']:,} sentence pairs.",
            "Rare words have a link or two at most. More pairs help most; a dictionary (--lexicon) helps where there "
            "are none.",
        )  # fmt: skip
    for name, counts in corpus.items():
        malformed = counts.get("malformed", 0)
        if malformed > _MALFORMED * max(1, counts.get("read", 0)):
            lines = ", ".join(str(line) for line in counts.get("malformed_lines", [])[:3])
            yield Finding(
                "warning", f"{malformed:,} lines of {name} are malformed (line {lines}).",
                "They were skipped. A pair is one line, English, a tab, and its translation.",
            )  # fmt: skip
    if "eval_bitext" not in corpus:
        yield Finding(
            "warning", "There were no held-out sentence pairs, so translation retrieval was not measured.",
            "Keep some hundred pairs away from --bitext and give them as --eval-bitext.",
        )  # fmt: skip


def _vocabulary(own: dict[str, Any]) -> Iterator[Finding]:
    vocabulary = own["vocabulary"]
    if vocabulary.get("unknown_share", 0) > _UNKNOWN:
        yield Finding(
            "warning", f"The tokenizer cannot write {_percent(vocabulary['unknown_share'])} of its text's tokens.",
            "Was it made for this language and script? Without --tokenizer one is trained on the text.",
        )  # fmt: skip
    longer = parity(vocabulary.get("fertility", {}))
    if longer is not None and longer > _LONGER:
        yield Finding(
            "hint", f"The same sentences take {longer:.1f} times as many tokens as in English.",
            "More text (--text) makes a larger vocabulary, which cuts words less: --vocab-size.",
        )  # fmt: skip


def _table(own: dict[str, Any]) -> Iterator[Finding]:
    table = own["table"]
    empty = table.get("shares", {}).get("fallback", 0.0)
    in_text = 1 - table.get("text_coverage", 1.0)
    if in_text > _EMPTY_TEXT or empty > _EMPTY_ROWS:
        yield Finding(
            "warning" if in_text > _EMPTY_TEXT else "hint",
            f"{_percent(empty)} of the tokens, which make {_percent(in_text)} of the running text, have no evidence "
            "and start as noise.",
            "More pairs, a dictionary (--lexicon) or word vectors (--vectors) fill their rows; a smaller --vocab-size "
            "has fewer of them.",
        )  # fmt: skip
    vectors = table.get("vectors", {})
    precision = vectors.get("precision")
    if precision is not None and precision < WORTHLESS:
        yield Finding(
            "warning",
            f"The word vectors could not be aligned: of the words held out, {_percent(precision)} lie nearest to a "
            "translation.",
            "Give a dictionary (--lexicon) with more of their words, or vectors trained on more text.",
        )  # fmt: skip
    if table.get("pairs_too_long"):
        yield Finding(
            "hint", f"{table['pairs_too_long']:,} sentence pairs were too long to be aligned.",
            "They say nothing to the table. Cut them into sentences.",
        )  # fmt: skip


def _scores(own: dict[str, Any]) -> Iterator[Finding]:
    scores = own["scores"]
    cosine = scores.get("english_cosine")
    if cosine is not None and cosine < _ENGLISH_COSINE:
        yield Finding(
            "warning", f"English moved: sentences have a mean cosine of {cosine:.4f} to those of the untouched model.",
            f"Below {_ENGLISH_COSINE} old English indexes are no longer valid. training.encoder=own leaves "
            "English as it is; a smaller training.learning_rate moves it less.",
        )  # fmt: skip
    found = {state: scores[state]["retrieval"] for state in _STATES if "retrieval" in scores.get(state, {})}
    if "trained" in found and "grafted" in found:
        before, after = found["grafted"], found["trained"]
        for way, name in (("en_to_xx", "from English"), ("xx_to_en", "to English")):
            if after[way] < _low(before, way):
                yield Finding(
                    "warning",
                    f"Training made retrieval {name} worse: {_percent(after[way])} after {_percent(before[way])}.",
                    "Try fewer steps or a smaller training.learning_rate; --objective none keeps the graft as it is.",
                )
    best = found.get("trained") or found.get("grafted")
    if best and min(best["en_to_xx"], best["xx_to_en"]) < _POOR_RETRIEVAL:
        yield Finding(
            "warning",
            f"Of the held-out sentences {_percent(min(best['en_to_xx'], best['xx_to_en']))} find their translation.",
            "More sentence pairs and longer training help most. A masked or causal model is not made for this score.",
        )
    text = [scores[state]["lm_xx"]["loss"] for state in ("grafted", "trained") if "lm_xx" in scores.get(state, {})]
    if len(text) == 2 and not text[1] < text[0]:
        yield Finding(
            "warning", f"Held-out text is predicted no better after training: loss {text[1]:.3f} after {text[0]:.3f}.",
            "Train longer, or with a smaller training.learning_rate.",
        )  # fmt: skip


_STATES = ("untouched", "grafted", "trained")


def _low(score: dict[str, Any], way: str) -> float:
    """The lower end of a score's interval, or the score."""
    interval = score.get("intervals", {}).get(way)
    return float(interval[0] if interval else score[way])


def _training(training: dict[str, Any] | None, numbers: dict[str, Any]) -> Iterator[Finding]:
    if training is None:
        if not any("no training" in str(note) for note in numbers.get("notes", [])):
            yield Finding(
                "hint", "The model was grafted and not trained.", "Training improves it: --steps, --tokens or --budget."
            )
        return
    for trained in (training, *training.get("replicas", [])[1:]):
        yield from _troubles(trained)
    yield from _curves(training.get("history", []))


def _troubles(training: dict[str, Any]) -> Iterator[Finding]:
    """What went wrong on the way, of one of several replicas or of the only one."""
    if training.get("rollbacks"):
        skipped = ", ".join(f"{step:,}" for step in training.get("skipped_steps", [])[:5])
        yield Finding(
            "warning", f"Training diverged {training['rollbacks']} times and went back (steps left out: {skipped}).",
            "A smaller training.learning_rate is steadier. One bad batch does no harm; many are a sign of bad text.",
        )  # fmt: skip
    if training.get("updates_not_finite"):
        yield Finding(
            "hint", f"{training['updates_not_finite']:,} steps had a gradient that is no number and moved nothing.",
            "A few are usual with fp16. With many, try training.precision=bf16 or float32.",
        )  # fmt: skip
    if training.get("out_of_memory"):
        yield Finding(
            "hint", f"Memory ran out and the micro-batch was halved, to {training['micro_batch']}.",
            f"The next run goes faster with training.micro_batch={training['micro_batch']} from the start.",
        )  # fmt: skip


def _curves(history: list[dict[str, Any]]) -> Iterator[Finding]:
    """Losses that ended no lower than they began: the means of the first and the last quarter of the last stage."""
    stage = [entry for entry in history if entry.get("stage") == history[-1].get("stage")]
    for name in sorted(key for key in stage[-1] if key.startswith("loss")) if stage else ():
        losses = [float(entry[name]) for entry in stage if isinstance(entry.get(name), int | float)]
        quarter = len(losses) // 4
        if quarter < _FEWEST_LINES:
            continue
        before, after = fmean(losses[:quarter]), fmean(losses[-quarter:])
        if not after < before:
            yield Finding(
                "warning", f"The loss {name} ended no lower than it began: {before:.3f}, then {after:.3f}.",
                "Try a smaller training.learning_rate, or more steps.",
            )  # fmt: skip
