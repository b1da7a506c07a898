"""Unigram models, learned without what their trainer leaves to chance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from tokenizers import Tokenizer, models, trainers

_UNKNOWN = "<unk>"

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


def learn_unigram(texts: Iterable[str], size: int, longest: int) -> dict[str, float]:
    """Tokens of a unigram model (Kudo 2018) and their scores, the likeliest first, the same whenever they are learned.

    texts: what tokens may be parts of, as often as it occurs. size: tokens at most. longest: characters of a token.
    """
    learner = Tokenizer(models.Unigram([(_UNKNOWN, 0.0)], 0))
    trainer = trainers.UnigramTrainer(
        vocab_size=size + 1, max_piece_length=longest, show_progress=False, unk_token=_UNKNOWN,
        special_tokens=[_UNKNOWN],
    )  # fmt: skip
    learner.train_from_iterator(texts, trainer)
    entries = json.loads(learner.to_str())["model"]["vocab"]
    return dict(settled([(token, score) for token, score in entries if token != _UNKNOWN]))


def with_wholes(
    pieces: dict[str, float], wholes: dict[str, float], first: Iterable[str], size: int
) -> dict[str, float]:
    """Tokens that spell a text and what is one as a whole, with the greater of its scores where it is both.

    first: of the wholes those that come before the likelier ones. size: tokens at most, unless there are more pieces.
    """
    tokens = dict(pieces)
    for token in (*first, *sorted(wholes, key=lambda token: (-wholes[token], token))):
        if token in tokens or len(tokens) < size:
            tokens[token] = max(tokens.get(token, -math.inf), wholes[token])
    return tokens


def spelling_pieces(
    words: Iterable[str], characters: Iterable[str], size: int, longest: int, mark: str = ""
) -> dict[str, float]:
    """Pieces that spell every text of these words and characters, with their scores.

    words: different ones, however often they occur. size: of the pieces at most, unless there are more letters.
    longest: characters of a piece. mark: what a word begins with; a character that no word has is a word of its own.
    """
    marked = [mark + word for word in words]
    letters = set().union(*marked) if marked else set()
    pieces = learn_unigram(marked, max(size, len(letters)), longest) if marked else {}
    lowest = min(pieces.values(), default=0.0) - 1
    single = {*letters} | {mark + character for character in characters if character not in letters}
    return dict.fromkeys(single, lowest) | pieces
