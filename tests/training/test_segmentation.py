from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from lingraft.evidence import encode
from lingraft.training.segmentation import Segmentations
from lingraft.vocabulary import all_special_ids, token_identities


def spelt(tokenizer, ids) -> bytes:
    """What ids spell, word boundaries as spaces; a token that its tokenizer marks at the end has one behind it."""
    suffix = "</w>" in tokenizer.backend_tokenizer.to_str()
    identities = token_identities(tokenizer)
    parts = []
    for number in ids:
        identity = identities[number]
        if identity is None:
            parts.append(b"<%d>" % number)
        else:
            mark = b" " if identity.starts_word else b""
            parts.append(identity.text + mark if suffix else mark + identity.text)
    return b"".join(parts)


def lines_of(tokenizer) -> list[np.ndarray]:
    special = min(all_special_ids(tokenizer))
    text = encode(tokenizer, tiny.english_lines(40))
    return [np.concatenate([[special], text[k], [special]]) for k in range(len(text))]


def test_every_kind_of_tokenizer_spells_the_same_with_more_tokens(any_tokenizer):
    lines = lines_of(any_tokenizer)
    sampled = Segmentations(any_tokenizer, 0.5).sample(lines, 1000, np.random.default_rng(0))
    assert [spelt(any_tokenizer, line) for line in sampled] == [spelt(any_tokenizer, line) for line in lines]
    assert sum(line.size for line in sampled) > 1.2 * sum(line.size for line in lines)


def test_it_is_a_function_of_the_random_numbers_and_samples_anew(wordpiece):
    lines, segmentations = lines_of(wordpiece), Segmentations(wordpiece, 0.3)
    one, same, other = (segmentations.sample(lines, 1000, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert [line.tolist() for line in one] == [line.tolist() for line in same]
    assert [line.tolist() for line in one] != [line.tolist() for line in other]


def test_every_cut_of_a_token_is_drawn_as_often_and_as_often_as_the_rate_says(wordpiece):
    """One token by itself: how often it stays whole, and how its first cuts are spread."""
    segmentations = Segmentations(wordpiece, 0.25)
    token = int(np.argmax(segmentations._cuts.number))
    cuts = int(segmentations._cuts.number[token])
    assert cuts > 1
    n = 20_000
    # no room for more than one cut a line
    sampled = segmentations.sample([np.array([token])] * n, 2, np.random.default_rng(0))
    whole = sum(line.size == 1 for line in sampled)
    assert whole / n == pytest.approx(0.75, abs=0.015)
    drawn = np.unique([line for line in sampled if line.size == 2], axis=0, return_counts=True)[1]
    assert drawn.size == cuts
    assert drawn / (n - whole) == pytest.approx(np.full(cuts, 1 / cuts), abs=0.03)


@given(st.lists(st.integers(0, 12), max_size=6), st.integers(0, 20), st.integers(0, 5))
def test_no_line_gets_longer_than_it_may_and_none_shorter(sizes: list[int], longest: int, seed: int):
    tokenizer = tiny.wordpiece_tokenizer()
    random = np.random.default_rng(seed)
    lines = [random.integers(len(tokenizer), size=size) for size in sizes]
    sampled = Segmentations(tokenizer, 0.9).sample(lines, longest, random)
    assert len(sampled) == len(lines)
    for line, before in zip(sampled, lines, strict=True):
        assert before.size <= line.size <= max(before.size, longest)
        assert spelt(tokenizer, line) == spelt(tokenizer, before)


def test_a_rate_of_nearly_one_ends_in_tokens_that_cannot_be_cut(wordpiece):
    segmentations = Segmentations(wordpiece, 0.999)
    sampled = segmentations.sample(lines_of(wordpiece), 1000, np.random.default_rng(0))
    assert np.mean(segmentations._cuts.number[np.concatenate(sampled)] == 0) > 0.95
