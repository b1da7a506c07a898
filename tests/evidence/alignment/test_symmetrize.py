from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingraft.errors import CorpusError, RecipeError
from lingraft.evidence.alignment import symmetrize as module
from lingraft.evidence.alignment.compiled import Workers
from lingraft.evidence.alignment.symmetrize import METHODS, LinkPosteriors, Links, project, symmetrize

HARD = METHODS[1:]
NEIGHBOURS = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]

#: of one sentence pair: English length, foreign length, and per link both posteriors
Pair = tuple[int, int, dict[tuple[int, int], tuple[float, float]]]


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Lets a handful of sentences make several chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", 40)
        yield


def offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def pack(pairs: list[Pair]) -> tuple[LinkPosteriors, np.ndarray, np.ndarray]:
    sizes, english, forward, backward = [], [], [], []
    for m, n, links in pairs:
        for j in range(n):
            row = [(i, *links[i, j]) for i in range(m) if (i, j) in links]
            sizes.append(len(row))
            english += [i for i, _, _ in row]
            forward += [f for _, f, _ in row]
            backward += [e for _, _, e in row]
    posteriors = LinkPosteriors(
        offsets(sizes), np.array(english, np.uint16), np.array(forward, np.float32), np.array(backward, np.float32)
    )
    return posteriors, offsets([m for m, _, _ in pairs]), offsets([n for _, n, _ in pairs])


def from_directions(m: int, n: int, forward: set[tuple[int, int]], backward: set[tuple[int, int]]) -> Pair:
    """A pair whose hard links are these."""
    return m, n, {link: (0.75 * (link in forward), 0.75 * (link in backward)) for link in forward | backward}


def random_pair(m: int, n: int, random: np.random.Generator) -> Pair:
    """Posteriors that are multiples of 1/8, so that there are ties and sums are exact."""
    cells = [(i, j) for i in range(m) for j in range(n) if random.random() < 0.6]
    posterior = {}
    for axis in (1, 0):
        for token in range((m, n)[axis]):
            row = [cell for cell in cells if cell[axis] == token]
            weights = random.dirichlet(np.full(len(row) + 1, 0.5))
            for cell, count in zip(row, random.multinomial(8, weights), strict=False):
                posterior[cell, axis] = int(count) / 8
    return m, n, {cell: (posterior[cell, 1], posterior[cell, 0]) for cell in cells}


lengths = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=8)
bitexts = st.builds(
    lambda shapes, seed: [random_pair(m, n, np.random.default_rng((seed, k))) for k, (m, n) in enumerate(shapes)],
    lengths,
    st.integers(0, 2**32),
)


def one_direction(links: dict[tuple[int, int], tuple[float, float]], axis: int, length: int) -> set[tuple[int, int]]:
    """The hard links of the tokens that are position ``axis`` of a link: 1 foreign, 0 English."""
    chosen = set()
    for token in range(length):
        row = sorted((link, p[1 - axis]) for link, p in links.items() if link[axis] == token)
        if row:
            link, p = max(row, key=lambda entry: entry[1])
            if p > 1 - sum(q for _, q in row):
                chosen.add(link)
    return chosen


def naive(pair: Pair, method: str, threshold: float = 0.2) -> set[tuple[int, int]]:
    m, n, links = pair
    if method == "posterior":
        return {link for link, (f, e) in links.items() if f * e >= threshold}
    forward, backward = one_direction(links, 1, n), one_direction(links, 0, m)
    if method in ("intersection", "union"):
        return forward & backward if method == "intersection" else forward | backward
    kept = forward & backward

    def is_aligned(link: tuple[int, int]) -> tuple[bool, bool]:
        return any(i == link[0] for i, _ in kept), any(j == link[1] for _, j in kept)

    added = True
    while added:
        added = False
        for link in sorted(forward | backward):
            if link in kept:
                for down, right in NEIGHBOURS:
                    new = (link[0] + down, link[1] + right)
                    if new in (forward | backward) - kept and not all(is_aligned(new)):
                        kept.add(new)
                        added = True
    if method != "grow-diag":
        for direction in (forward, backward):
            for link in sorted(direction):
                blocked = any(is_aligned(link)) if method == "grow-diag-final-and" else all(is_aligned(link))
                if not blocked:
                    kept.add(link)
    return kept


def assert_same(found: Links, expected: Links) -> None:
    for name in ("pair_offsets", "english", "foreign", "posterior"):
        one, two = getattr(found, name), getattr(expected, name)
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None)  # the first call compiles
@given(bitext=bitexts)
def test_links_are_those_of_a_naive_implementation(method: str, bitext: list[Pair]) -> None:
    with Workers(2) as workers:
        found = symmetrize(*pack(bitext), method=method, workers=workers)
    assert [found[k] for k in range(len(found))] == [sorted(naive(pair, method)) for pair in bitext]
    products = [np.prod(pair[2][link]) for k, pair in enumerate(bitext) for link in found[k]]
    np.testing.assert_array_equal(found.posterior, np.array(products, np.float32))
    assert [a.dtype for a in (found.pair_offsets, found.english, found.foreign)] == [np.int64, np.uint16, np.uint16]


@pytest.mark.parametrize("method", METHODS)
def test_result_does_not_depend_on_threads_or_chunks(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    arrays = pack([random_pair(*random.integers(0, 12, 2), random) for _ in range(60)])
    with Workers(1) as workers:
        one = symmetrize(*arrays, method=method, workers=workers)
    assert_same(symmetrize(*arrays, method=method), one)
    monkeypatch.setattr(module, "_CHUNK", 1)
    with Workers(5) as workers:
        assert_same(symmetrize(*arrays, method=method, workers=workers), one)
    monkeypatch.setattr(module, "_CHUNK", 1 << 30)
    assert_same(symmetrize(*arrays, method=method), one)
    assert one.posterior.size > 20


def links_of(pair: Pair, method: str) -> list[tuple[int, int]]:
    return symmetrize(*pack([pair]), method=method)[0]


def test_grow_diag_fills_gaps_beside_links():
    pair = from_directions(3, 3, {(0, 0), (1, 1), (2, 2)}, {(0, 0), (1, 0), (2, 1)})
    assert links_of(pair, "intersection") == [(0, 0)]
    assert links_of(pair, "union") == [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)]
    # (1, 0) comes before (1, 1) by the order of neighbours; (1, 1) then still has an unaligned foreign word
    assert links_of(pair, "grow-diag") == [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)]


def test_grow_diag_visits_links_and_not_the_union():
    # Moses goes from (1, 1) to (0, 1) and then to (0, 0); fast_align's atools starts with (0, 0), which blocks (0, 1)
    pair = from_directions(2, 2, {(0, 0), (1, 1)}, {(0, 1), (1, 1)})
    assert links_of(pair, "grow-diag") == [(0, 0), (0, 1), (1, 1)]


def test_final_adds_what_has_no_neighbour():
    # (0, 3) lies apart and shares its English word with (0, 0); (3, 1) lies apart and shares nothing
    pair = from_directions(4, 4, {(0, 0), (0, 3)}, {(0, 0), (3, 1)})
    assert links_of(pair, "grow-diag") == [(0, 0)]
    assert links_of(pair, "grow-diag-final") == [(0, 0), (0, 3), (3, 1)]
    assert links_of(pair, "grow-diag-final-and") == [(0, 0), (3, 1)]


def test_final_takes_foreign_given_english_first():
    pair = from_directions(3, 3, {(2, 0)}, {(0, 0), (2, 2)})
    assert links_of(pair, "grow-diag-final-and") == [(2, 0)]


def test_a_token_without_a_partner_more_probable_than_null_has_no_hard_link():
    # 0.5 is no more than the null word's 0.5; the English token prefers its first of two equal partners
    pair = (1, 3, {(0, 0): (0.5, 0.25), (0, 1): (0.75, 0.375), (0, 2): (0.75, 0.375)})
    assert links_of(pair, "union") == [(0, 1), (0, 2)]
    assert links_of(pair, "intersection") == [(0, 1)]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_posteriors_handed_out_are_not_below_the_threshold(threshold: float) -> None:
    value = np.float32(threshold)
    posteriors = LinkPosteriors(
        offsets([1, 1]),
        np.zeros(2, np.uint16),
        np.array([value, np.nextafter(value, np.float32(-1))]),
        np.ones(2, "f4"),
    )
    links = symmetrize(posteriors, offsets([1]), offsets([2]), threshold=threshold)
    assert links[0] == [(0, 0)]
    assert (links.posterior >= threshold).all()


@pytest.mark.parametrize("method", METHODS)
def test_long_sentences(method: str) -> None:
    random = np.random.default_rng(0)
    forward, backward = (random.gamma(0.01, size=(1000, 1000)).astype(np.float32) for _ in range(2))
    forward /= forward.sum(1, keepdims=True) * 1.05
    backward /= backward.sum(0, keepdims=True) * 1.05
    every = LinkPosteriors(
        np.arange(0, 10**6 + 1, 1000),
        np.tile(np.arange(1000, dtype=np.uint16), 1000),
        forward.ravel(),
        backward.ravel(),
    )
    found = symmetrize(every, offsets([1000]), offsets([1000]), method=method)
    to_english, to_foreign = forward.argmax(1), backward.argmax(0)
    one = {(int(to_english[j]), j) for j in range(1000) if forward[j].max() > 1 - forward[j].sum(dtype=float)}
    two = {(i, int(to_foreign[i])) for i in range(1000) if backward[:, i].max() > 1 - backward[:, i].sum(dtype=float)}
    if method == "posterior":
        assert found[0] == sorted((int(i), int(j)) for j, i in np.argwhere(forward * backward >= 0.2))
    elif method in ("intersection", "union"):
        assert found[0] == sorted(one & two if method == "intersection" else one | two)
    else:
        assert one & two <= set(found[0]) <= one | two
    assert found[0] == sorted(set(found[0]))


def test_nothing_to_align() -> None:
    for pairs in ([], [(0, 3, {})], [(3, 0, {}), (0, 0, {}), (2, 2, {})]):
        for method in METHODS:
            links = symmetrize(*pack(pairs), method=method)
            assert [links[k] for k in range(len(links))] == [[] for _ in pairs]
            assert_same(project(links, None, None, *pack(pairs)[1:]), links)


def test_links_are_a_sequence() -> None:
    links = Links(
        offsets([1, 0, 2]), np.array([3, 0, 1], np.uint16), np.array([4, 5, 0], np.uint16), np.ones(3, np.float32)
    )
    assert len(links) == 3
    assert list(links) == [[(3, 4)], [], [(0, 5), (1, 0)]]
    assert links[-1] == links[2]
    with pytest.raises(IndexError):
        links[3]


@settings(deadline=None)  # the first call compiles
@given(bitext=bitexts, seed=st.integers(0, 2**32), which=st.sampled_from(["both", "english", "foreign", "neither"]))
def test_projection_keeps_the_largest_posterior_of_every_word_pair(bitext: list[Pair], seed: int, which: str) -> None:
    arrays = pack(bitext)
    random = np.random.default_rng(seed)
    links = symmetrize(*arrays, method="union")
    words = [
        [random.integers(0, 1 + (length + 1) // 2, length).astype(np.int32) for length in np.diff(side)]
        for side in arrays[1:]
    ]
    given = [np.concatenate([np.empty(0, np.int32), *side]) for side in words]
    e_word = given[0] if which in ("both", "english") else None
    f_word = given[1] if which in ("both", "foreign") else None
    with Workers(2) as workers:
        found = project(links, e_word, f_word, *arrays[1:], workers=workers)
    for k in range(len(links)):
        expected: dict[tuple[int, int], float] = {}
        values = links.posterior[links.pair_offsets[k] : links.pair_offsets[k + 1]]
        for (i, j), value in zip(links[k], values, strict=True):
            e = i if e_word is None else int(words[0][k][i])
            f = j if f_word is None else int(words[1][k][j])
            expected[e, f] = max(value, expected.get((e, f), 0.0))
        assert found[k] == sorted(expected)
        values = found.posterior[found.pair_offsets[k] : found.pair_offsets[k + 1]]
        assert values.tolist() == [expected[link] for link in found[k]]
    assert found.english.dtype == found.foreign.dtype == np.uint16
    if which == "neither":
        assert_same(found, links)


def test_projection_of_characters_to_words() -> None:
    # "ab c" against "x yz" by characters
    pair = (3, 3, {(0, 0): (0.5, 0.5), (1, 0): (0.25, 0.5), (2, 2): (0.75, 0.75)})
    arrays = pack([pair])
    links = symmetrize(*arrays, method="posterior", threshold=0.1)
    words = project(links, np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32), *arrays[1:])
    assert words[0] == [(0, 0), (1, 1)]
    assert words.posterior.tolist() == [0.25, 0.5625]


def test_refusals() -> None:
    arrays = pack([(2, 2, {(0, 0): (1.0, 1.0)})])
    with pytest.raises(RecipeError, match="'grow' is no way to symmetrize alignments; give one of posterior"):
        symmetrize(*arrays, method="grow")
    for threshold in (-0.1, 1.5, float("nan")):
        with pytest.raises(RecipeError, match="between 0 and 1"):
            symmetrize(*arrays, threshold=threshold)
    with pytest.raises(CorpusError, match="sentence pair 2 has 65,537 foreign tokens"):
        symmetrize(
            LinkPosteriors(np.zeros(65_540, np.int64), *[np.empty(0)] * 3), offsets([1, 1]), offsets([2, 65_537])
        )
    with pytest.raises(ValueError, match="1 English and 2 foreign"):
        symmetrize(arrays[0], arrays[1], offsets([1, 1]))
    with pytest.raises(ValueError, match="posteriors of 2 foreign tokens for 3"):
        symmetrize(arrays[0], arrays[1], offsets([3]))
    with pytest.raises(ValueError, match="links for offsets that end at 5"):
        symmetrize(LinkPosteriors(offsets([5, 0]), *[np.zeros(4)] * 3), *arrays[1:])


@pytest.mark.parametrize("english", [[1, 0], [1, 1], [0, 2]])
@pytest.mark.parametrize("method", METHODS)
def test_wrong_positions_are_refused(english: list[int], method: str) -> None:
    posteriors = LinkPosteriors(offsets([2]), np.array(english, np.uint16), *[np.full(2, 0.5, np.float32)] * 2)
    with pytest.raises(ValueError, match="do not ascend or are out of range"):
        symmetrize(posteriors, offsets([2]), offsets([1]), method=method)


def test_wrong_words_are_refused() -> None:
    arrays = pack([(2, 2, {(1, 0): (1.0, 1.0)})])
    links = symmetrize(*arrays)
    with pytest.raises(ValueError, match="english_word_of_unit has 3 entries for 2 units"):
        project(links, np.zeros(3, np.int32), None, *arrays[1:])
    with pytest.raises(ValueError, match="foreign_word_of_unit must lie in"):
        project(links, None, np.array([0, -1], np.int32), *arrays[1:])
    with pytest.raises(ValueError, match="links of 1 pairs for 2"):
        project(links, None, None, offsets([1, 1]), offsets([1, 1]))
    with pytest.raises(ValueError, match="outside of its sentence pair"):
        project(links, None, None, offsets([1]), offsets([2]))
