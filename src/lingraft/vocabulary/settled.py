"""What the trainer of Unigram models leaves to chance, settled."""

from __future__ import annotations

#: digits of a Unigram score that are the same in every process, and the step between characters the model had lost
_SCORE_DIGITS, _SCORE_STEP = 4, 1e-4


def settled(vocabulary: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """A learned Unigram vocabulary without the traces of the trainer's randomly seeded hash maps.

    Those are the last digits of every score, by the order in which it sums, and which of the characters that it had
    pruned and puts back gets which of the scores lowest, lowest + step, lowest + 2 steps ...
    """
    lowest = min((score for _, score in vocabulary), default=0.0)
    scores = dict(vocabulary)
    steps = {token: (score - lowest) / _SCORE_STEP for token, score in scores.items() if len(token) == 1}
    put_back = sorted(token for token, step in steps.items() if abs(step - round(step)) < 1e-5)
    scores.update((token, lowest + k * _SCORE_STEP) for k, token in enumerate(put_back))
    rounded = [(token, round(score, _SCORE_DIGITS)) for token, score in scores.items()]
    return sorted(rounded, key=lambda entry: (-entry[1], entry[0]))
