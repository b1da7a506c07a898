"""Training as a whole: a cipher whose links are known, threads, blocks, odd text, and what it can start from."""

from __future__ import annotations

import itertools
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.corpus import TokenSequences
from lingraft.evidence.alignment.block import Csr
from lingraft.evidence.alignment.em import Parameters, Training
from lingraft.evidence.alignment.settings import AlignerSettings
from lingraft.evidence.alignment.symmetrize import symmetrize

TYPES, FUNCTION_WORDS = 200, 5
METHODS = pytest.mark.parametrize("method", ["hmm", "ibm2"])


class Cipher(NamedTuple):
    """English lines, their translation, and per pair the true links (English position, foreign position)."""

    english: TokenSequences
    foreign: TokenSequences
    links: list[set[tuple[int, int]]]
    types: tuple[int, int]
    secret: np.ndarray


def cipher(pairs: int, seed: int = 0, swaps: float = 1.6, missing: float = 0.06, inserted: float = 0.06) -> Cipher:
    """Word for word, words swapped with near ones, some missing, and function words that translate nothing."""
    random = np.random.default_rng(seed)
    weights = 1 / (np.arange(TYPES) + 2.7)
    secret = random.permutation(TYPES)
    english, foreign, links = [], [], []
    for _ in range(pairs):
        # a word occurs once in a line: which of two takes part in a link cannot be known
        line = random.choice(TYPES, random.integers(3, 16), replace=False, p=weights / weights.sum())
        translation: list[int] = []
        true = set()
        for k in sorted(range(line.size), key=(np.arange(line.size) + random.uniform(0, swaps, line.size)).__getitem__):
            if random.random() < inserted:
                translation.append(TYPES + int(random.integers(FUNCTION_WORDS)))
            if random.random() >= missing:
                true.add((k, len(translation)))
                translation.append(int(secret[line[k]]))
        english.append(line)
        foreign.append(translation)
        links.append(true)
    return Cipher(
        TokenSequences.from_lists(english), TokenSequences.from_lists(foreign), links, (TYPES, TYPES + FUNCTION_WORDS),
        secret,
    )  # fmt: skip


@pytest.fixture(scope="module")
def text() -> Cipher:
    return cipher(3000)


@pytest.fixture(scope="module")
def short_text() -> Cipher:
    return cipher(400, seed=1)


def train(text: Cipher, threads: int = 1, **options: object) -> Training:
    """To be used as a context manager."""
    return Training(text.english, text.foreign, *text.types, AlignerSettings(**options), threads=threads)  # type: ignore[arg-type]


def links(training: Training, threshold: float = 0.2) -> list[set[tuple[int, int]]]:
    return [
        set(row)
        for pairs, posteriors in training.posteriors()
        for row in symmetrize(posteriors, pairs.english_offsets, pairs.foreign_offsets, threshold=threshold)
    ]


def shared(one: list[set[tuple[int, int]]], other: list[set[tuple[int, int]]]) -> int:
    assert len(one) == len(other)
    return sum(len(a & b) for a, b in zip(one, other, strict=True))


def size(some: list[set[tuple[int, int]]]) -> int:
    return sum(map(len, some))


def as_bytes(training: Training) -> list[bytes]:
    """Everything that training gives."""
    arrays: list[np.ndarray] = []
    for pairs, posteriors in training.posteriors():
        arrays += [*pairs, *vars(posteriors).values()]
    learned = training.learned()
    arrays += [*training.expected_links(), *learned.counts, learned.foreign_null, learned.english_null]
    arrays += [learned.foreign_jumps, learned.english_jumps, np.array(training.log_likelihood)]
    return [array.tobytes() for array in arrays]


def check_posteriors(training: Training) -> int:
    """Finite, from 0 to 1, and no more than 1 for a token; gives the number of links."""
    found = 0
    # the first stage keeps its posteriors as bytes
    rounding = 1e-4 if training.settings.method == "hmm" else 0.03
    for pairs, posteriors in training.posteriors():
        e, f = pairs.english_offsets, pairs.foreign_offsets
        n = np.diff(posteriors.offsets)
        token = np.repeat(np.arange(n.size), n)
        line = np.repeat(np.arange(f.size - 1), np.diff(f))[token]
        other = e[line] + posteriors.english
        assert (posteriors.english < np.diff(e)[line]).all()
        for child, values in ((token, posteriors.foreign_posterior), (other, posteriors.english_posterior)):
            assert values.dtype == np.float32
            assert np.isfinite(values).all()
            assert (values >= 0).all()
            assert (values <= 1 + 1e-4).all()
            assert (np.bincount(child, values) <= 1 + rounding).all()
        found += token.size
    expected = training.expected_links()
    for values in (expected.values, *parameters_of(training)):
        assert np.isfinite(values).all()
        assert (values >= 0).all()
    assert np.isfinite(np.array(training.log_likelihood)).all()
    return found


def parameters_of(training: Training) -> tuple[np.ndarray, ...]:
    learned = training.learned()
    return (
        learned.counts.values, learned.foreign_null, learned.english_null, learned.foreign_jumps, learned.english_jumps,
    )  # fmt: skip


# what it finds


def test_the_links_of_a_cipher_are_found(text: Cipher):
    with train(text) as training:
        found = links(training)
        best = training.expected_links()
    assert shared(found, text.links) > 0.99 * size(found)
    assert shared(found, text.links) > 0.99 * size(text.links)
    # the word most linked to is the right one, for every word but the rarest
    matrix = np.zeros(text.types[::-1])
    matrix[best.rows, best.columns] = best.values
    frequency = np.bincount(text.foreign.ids, minlength=matrix.shape[0])[text.secret]
    right = matrix[text.secret].argmax(1) == np.arange(TYPES)
    assert frequency[right].sum() > 0.999 * frequency.sum()


def test_both_directions_are_the_same_seen_from_the_other_side(short_text: Cipher):
    turned = Cipher(
        short_text.foreign, short_text.english, [{(f, e) for e, f in row} for row in short_text.links],
        short_text.types[::-1], short_text.secret,
    )  # fmt: skip
    with train(short_text) as here, train(turned) as there:
        np.testing.assert_allclose(here.log_likelihood, np.array(there.log_likelihood)[:, ::-1], rtol=1e-4)
        one = links(here)
        other = [{(e, f) for f, e in row} for row in links(there)]
    assert shared(one, other) >= 0.999 * max(size(one), size(other))


def test_the_first_stage_alone_finds_most_links(text: Cipher):
    with train(text, method="ibm2") as training:
        assert training.log_likelihood == []
        found = links(training)
    assert shared(found, text.links) > 0.95 * size(found)
    assert shared(found, text.links) > 0.85 * size(text.links)


def test_the_likelihood_rises_until_it_stays(text: Cipher):
    """Links are judged without themselves and counted where both directions agree, so small losses are no error."""
    with train(text, iterations=6) as training:
        history = np.array(training.log_likelihood)
    assert history.shape == (6, 2)
    assert (np.diff(history, axis=0) > -5e-3).all()
    assert (history[-1] > history[0] + 0.1).all()
    assert (history < 0).all()


@pytest.mark.parametrize("iterations", [4, 12])
def test_words_that_never_move(iterations: int):
    """All jumps but one die out: what remains of their weights must not end as a division by nothing."""
    random = np.random.default_rng(0)
    lines = TokenSequences.from_lists(random.integers(0, 50, random.integers(1, 10)) for _ in range(1500))
    with Training(lines, lines, 50, 50, AlignerSettings(iterations=iterations), threads=1) as training:
        check_posteriors(training)
        diagonal = [{(k, k) for k in range(n)} for n in lines.lengths]
        found = links(training)
    assert shared(found, diagonal) > 0.99 * size(diagonal)
    assert shared(found, diagonal) > 0.99 * size(found)


def test_pruning_drops_only_links_of_little_weight(short_text: Cipher):
    with train(short_text, prune_below=0.0) as everything, train(short_text, prune_below=0.002) as pruned:
        all_links, fewer = everything.expected_links(), pruned.expected_links()
        one, other = links(everything), links(pruned)
    assert fewer.values.size < 0.9 * all_links.values.size
    assert fewer.values.sum() == pytest.approx(all_links.values.sum(), rel=0.01)
    assert shared(one, other) > 0.99 * max(size(one), size(other))


# threads and blocks


@METHODS
@pytest.mark.parametrize("block_tokens", [1 << 22, 2500])
def test_results_are_the_same_for_any_number_of_threads(short_text: Cipher, method: str, block_tokens: int):
    results = []
    for threads in (1, 2, 3, 7):
        with train(short_text, threads, method=method, block_tokens=block_tokens, iterations=2) as training:
            results.append(as_bytes(training))
    assert all(result == results[0] for result in results)


def test_expectations_can_be_asked_for_again(short_text: Cipher):
    with train(short_text, block_tokens=2500) as training:
        assert as_bytes(training) == as_bytes(training)


@METHODS
def test_expectations_can_be_asked_for_while_posteriors_are_handed_out(short_text: Cipher, method: str):
    with train(short_text, method=method, block_tokens=2500) as training:
        expected = links(training), training.expected_links().values
        for _ in training.posteriors():
            np.testing.assert_array_equal(training.expected_links().values, expected[1])
        next(training.posteriors())
        assert links(training) == expected[0]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_many_blocks_find_what_one_finds(text: Cipher, temporary: Path):
    with train(text) as one:
        assert len(one.blocks) == 1
        assert not list(temporary.iterdir())
        whole = links(one)
    results = []
    for _ in range(2):
        with train(text, block_tokens=9000) as many:
            assert len(many.blocks) > 4
            assert list(temporary.iterdir())
            results.append(as_bytes(many))
            found = links(many)
        assert not list(temporary.iterdir())
    assert results[0] == results[1]
    assert shared(whole, found) > 0.97 * max(size(whole), size(found))
    assert shared(found, text.links) > 0.97 * size(found)
    assert shared(found, text.links) > 0.97 * size(text.links)


class StopError(Exception):
    """Raised by the tests' progress."""


@pytest.mark.parametrize("when", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
def test_what_stops_training_leaves_nothing_behind(
    short_text: Cipher, temporary: Path, when: float, error: type[BaseException]
):
    def stop(done: float, _: str) -> None:
        if done > when:
            assert list(temporary.iterdir())
            raise error

    before = threading.active_count()
    chosen = AlignerSettings(block_tokens=2500)
    with pytest.raises(error):
        Training(
            short_text.english, short_text.foreign, *short_text.types, chosen, threads=2, on_progress=stop,
        )  # fmt: skip
    assert not list(temporary.iterdir())
    assert threading.active_count() == before


def test_an_error_among_the_results_leaves_nothing_behind(short_text: Cipher, temporary: Path):
    def fail() -> None:
        with train(short_text, block_tokens=2500) as training:
            next(training.posteriors())
            assert list(temporary.iterdir())
            raise StopError

    with pytest.raises(StopError):
        fail()
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("block_tokens", [1 << 22, 2500])
def test_progress_rises_to_its_end(short_text: Cipher, block_tokens: int):
    told: list[tuple[float, str]] = []
    with Training(
        short_text.english, short_text.foreign, *short_text.types, AlignerSettings(block_tokens=block_tokens),
        threads=1, on_progress=lambda *now: told.append(now),
    ) as training:  # fmt: skip
        blocks = len(training.blocks)
    assert len(told) == 5 * blocks
    shares = [share for share, _ in told]
    assert shares == sorted(set(shares))
    assert shares[0] > 0
    assert shares[-1] <= 1
    assert all("likelihood" in message for _, message in told)


sides = st.lists(st.integers(0, 9), max_size=8)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(sides, sides), max_size=8), st.integers(4, 60))
def test_blocks_are_the_bitext(bitext: list[tuple[list[int], list[int]]], block_tokens: int):
    english, foreign = ([pair[side] for pair in bitext] for side in (0, 1))
    again: tuple[list[list[int]], ...] = ([], [])
    chosen = AlignerSettings(block_tokens=block_tokens, iterations=1)
    with Training(
        TokenSequences.from_lists(english), TokenSequences.from_lists(foreign), 10, 10, chosen, threads=1
    ) as training:
        check_posteriors(training)
        for pairs, posteriors in training.posteriors():
            for lines, ids, offsets in zip(again, pairs[::2], pairs[1::2], strict=True):
                assert offsets[0] == 0
                assert offsets[-1] == ids.size
                lines += [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)]
            assert posteriors.offsets.size == pairs.foreign.size + 1
    assert again == (english, foreign)


# odd text


def lists(*lines: list[int]) -> TokenSequences:
    return TokenSequences.from_lists(lines)


NINE = list(range(9))
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 9, (2, 3, 1000)).tolist()
LONG = lists(*RANDOM.permutation(2000).reshape(2, 1000).tolist(), *RANDOM.integers(0, 2000, (4000, 8)).tolist())


@METHODS
@pytest.mark.parametrize(
    ("english", "foreign", "linked"),
    [
        (lists(), lists(), False),
        (lists([]), lists([]), False),
        (lists([], [1], []), lists([1], [], []), False),
        (lists([], [1, 2], [1], [2]), lists([1], [3, 4], [3], [4]), True),
        (lists([0]), lists([0]), True),
        (lists(*[[k % 9] for k in range(90)]), lists(*[[8 - k % 9] for k in range(90)]), True),
        (lists(NINE * 120), lists([3]), False),
        (lists([3]), lists(NINE * 120), False),
        (lists(*NOISE[0]), lists(*NOISE[1]), False),
        (LONG, LONG, True),
        (lists(*[[1, 2, 3]] * 5000), lists(*[[4, 5, 6]] * 5000), True),
        (lists(*[[1, 1, 1]] * 50), lists(*[[4, 4, 4, 4]] * 50), False),
    ],
    ids=[
        "nothing", "an empty pair", "all sides empty", "some sides empty", "one word", "one-word lines",
        "a thousand words to one", "one word to a thousand", "a thousand random words", "a thousand words",
        "identical lines", "one type",
    ],
)  # fmt: skip
def test_odd_bitexts(english: TokenSequences, foreign: TokenSequences, linked: bool, method: str):
    types = 2000
    with Training(english, foreign, types, types, AlignerSettings(method=method), threads=1) as training:
        check_posteriors(training)
        found = links(training)
        counts = training.expected_links()
    assert counts.indptr.shape == (types + 1,)
    assert len(found) == len(english)
    for e, f, row in zip(english.lengths, foreign.lengths, found, strict=True):
        # the first stage alone is not so sure
        if linked and e and f and method == "hmm":
            assert len({j for _, j in row}) > 0.9 * f


@METHODS
def test_lines_empty_on_one_side_change_nothing(short_text: Cipher, method: str):
    """The other pairs find the same links, as likely a token; an empty line has none."""
    english, foreign, truth = [], [], []
    for k in range(len(short_text.english)):
        english += [short_text.english[k], np.zeros(0, np.int32), short_text.english[k]]
        foreign += [short_text.foreign[k], short_text.foreign[k], np.zeros(0, np.int32)]
        truth += [short_text.links[k], set(), set()]
    longer = short_text._replace(english=TokenSequences.from_lists(english), foreign=TokenSequences.from_lists(foreign))
    with train(short_text, method=method) as one, train(longer, method=method) as other:
        expected, found = links(one), links(other)
        np.testing.assert_allclose(other.log_likelihood, one.log_likelihood, rtol=1e-3)
    assert not any(found[1::3])
    assert not any(found[2::3])
    assert shared(expected, found[::3]) > 0.99 * max(size(expected), size(found))


def test_every_word_is_another():
    """No two tokens of one type, 200,000 of them: nothing is known but the position."""
    tokens, length = 200_000, 10
    ids = np.random.default_rng(0).permutation(tokens).astype(np.int32)
    lines = TokenSequences(ids, np.arange(0, tokens + 1, length, dtype=np.int64))
    with Training(lines, lines, tokens, tokens, AlignerSettings(iterations=1), threads=1) as training:
        assert check_posteriors(training) > 0
        assert training.expected_links().indptr.size == tokens + 1


def test_a_pair_that_occurs_once_is_not_its_own_evidence():
    """Two names in one line: without leaving a link out of its own counts both would be certain of their neighbour."""
    english = [[k % 5, 5 + k % 7] for k in range(200)] + [[1, 20, 7, 21]]
    with Training(
        TokenSequences.from_lists(english), TokenSequences.from_lists(english), 22, 22, threads=1
    ) as training:
        found = links(training, 0.5)
    assert {(0, 0), (2, 2)} <= found[-1]
    assert all(row == {(0, 0), (1, 1)} for row in found[:-1])


# what it can start from


def new_words(text: Cipher) -> tuple[TokenSequences, TokenSequences, tuple[int, int]]:
    """One line of known words with two words, each side, that occur nowhere else, in the unlikely order."""
    e = [10, 11, TYPES, TYPES + 1, 12]
    first_new = text.types[1]
    f = [int(text.secret[10]), int(text.secret[11]), first_new, first_new + 1, int(text.secret[12])]
    return lists(e), lists(f), (TYPES + 2, first_new + 2)


def test_a_lexicon_decides_about_words_that_occur_once(text: Cipher):
    english, foreign, types = new_words(text)
    both = Cipher(
        TokenSequences.from_lists([*map(text.english.__getitem__, range(len(text.english))), english[0]]),
        TokenSequences.from_lists([*map(text.foreign.__getitem__, range(len(text.foreign))), foreign[0]]),
        text.links, types, text.secret,
    )  # fmt: skip
    crossed = Csr(
        np.array([0] * (types[1] - 1) + [1, 2], np.int64),
        np.array([TYPES + 1, TYPES], np.int32),
        np.ones(2, np.float32),
    )
    straight = crossed._replace(columns=crossed.columns[::-1].copy())
    for prior, expected in ((crossed, {(2, 3), (3, 2)}), (straight, {(2, 2), (3, 3)})):
        for method in ("hmm", "ibm2"):
            chosen = AlignerSettings(method=method)
            with Training(both.english, both.foreign, *types, chosen, prior=prior, threads=1) as training:
                found = links(training)
                check_posteriors(training)
            assert found[-1] & {(a, b) for a in (2, 3) for b in (2, 3)} == expected
            assert shared(found[:-1], text.links) > 0.85 * size(text.links)


@pytest.fixture(scope="module")
def learned(text: Cipher) -> Parameters:
    with train(text) as training:
        return training.learned()


def dense(matrix: Csr, shape: tuple[int, int]) -> np.ndarray:
    result = np.zeros(shape, np.float32)
    result[matrix.rows, matrix.columns] = matrix.values
    return result


def test_parameters_to_start_from_keep_jumps_and_nulls(text: Cipher, learned: Parameters):
    english, foreign, types = new_words(text)
    with Training(english, foreign, *types, start=learned, threads=1) as training:
        after = training.learned()
        check_posteriors(training)
        found = links(training)
        expected = training.expected_links()
    # one line suffices for words that are known
    assert {(0, 0), (1, 1), (4, 4)} <= found[0]
    old_jumps = {"foreign_jumps": learned.foreign_jumps, "english_jumps": learned.english_jumps}
    for name, old in old_jumps.items():
        new = getattr(after, name)
        middle, was = new.size // 2, old.size // 2
        np.testing.assert_array_equal(new, old[was - middle : was + middle + 1])
    for name, old_null in (("foreign_null", learned.foreign_null), ("english_null", learned.english_null)):
        new = getattr(after, name)
        assert new.sum() == pytest.approx(1, rel=1e-5)
        np.testing.assert_allclose(new[: old_null.size] / new[0], old_null / old_null[0], rtol=1e-5)
        # new words are as likely without counterpart as the least likely known
        np.testing.assert_allclose(new[old_null.size :], new[: old_null.size].min(), rtol=1e-5)
    # what was known and what this line added
    np.testing.assert_allclose(
        dense(after.counts, types[::-1]),
        dense(learned.counts, types[::-1]) + dense(training.parameters.counts, types[::-1]),
        rtol=1e-5,
    )
    assert expected.values.sum() < foreign.ids.size + 1e-3


def test_longer_lines_than_those_trained_on(text: Cipher, learned: Parameters):
    random = np.random.default_rng(1)
    line = random.permutation(TYPES)[:120]
    translated = text.secret[line]
    with Training(lists(line), lists(translated), *text.types, start=learned, threads=1) as training:
        check_posteriors(training)
        (found,) = links(training)
        jumps = training.learned().foreign_jumps
    assert len(found & {(k, k) for k in range(120)}) > 115
    known = learned.foreign_jumps
    more = (jumps.size - known.size) // 2
    assert more > 90
    np.testing.assert_array_equal(jumps[more:-more], known)
    np.testing.assert_array_equal(jumps[:more], known[0])
    np.testing.assert_array_equal(jumps[-more:], known[-1])


def test_jumps_further_than_any_seen_are_not_likely(learned: Parameters):
    """Lines of up to 15 words say nothing of jumps over 16, but that the longest possible ones did not occur."""
    for jumps in (learned.foreign_jumps, learned.english_jumps):
        distance = np.abs(jumps.size // 2 - np.arange(jumps.size))
        seen = jumps[(distance > 9) & (distance < 14)]
        assert jumps[distance > 16].max() <= max(10 * seen.max(), 2e-3)


def test_a_start_and_a_lexicon_add_up(text: Cipher, learned: Parameters):
    english, foreign, types = new_words(text)
    new = Csr(
        np.array([0] * (types[1] - 1) + [1, 2], np.int64), np.array([TYPES + 1, TYPES], np.int32),
        np.ones(2, np.float32),
    )  # fmt: skip
    with Training(english, foreign, *types, start=learned, prior=new, threads=1) as training:
        assert links(training)[0] == {(0, 0), (1, 1), (2, 3), (3, 2), (4, 4)}
        after = dense(training.learned().counts, types[::-1])
    # a lexicon is no text: it is not among what was learned
    before = dense(learned.counts, types[::-1])
    assert after.sum() <= before.sum() + english.ids.size + 1e-3


def test_training_does_not_change_what_it_is_given(text: Cipher, learned: Parameters):
    before = [array.copy() for array in (*learned.counts, learned.foreign_null, learned.foreign_jumps)]
    ids = text.english.ids.copy()
    with Training(text.english, text.foreign, *text.types, AlignerSettings(iterations=1), learned, threads=1):
        pass
    after = (*learned.counts, learned.foreign_null, learned.foreign_jumps)
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(was, now)
    np.testing.assert_array_equal(ids, text.english.ids)
