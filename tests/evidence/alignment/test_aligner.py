"""Alignment as one call: a cipher whose links are known, in every form in which text and knowledge can be given."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import tempfile
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lingraft
import tiny
from conftest import as_tsv
from lingraft import AlignerSettings, Alignment, AlignmentModel, align
from lingraft.errors import CorpusError, InputError, RecipeError
from lingraft.evidence.alignment import BitextAligner, Lexicon, Links, write_lexicon
from lingraft.evidence.alignment.symmetrize import METHODS as SYMMETRIZATIONS
from lingraft.evidence.alignment.text import encode_pairs

WORDS = 150
TINY_BLOCKS = AlignerSettings(block_tokens=1)
METHODS = pytest.mark.parametrize("method", ["hmm", "ibm2"])


class Cipher(NamedTuple):
    """Sentence pairs and the links of each, (English position, foreign position), sorted."""

    pairs: list[tuple[str, str]]
    links: list[list[tuple[int, int]]]


def cipher(n: int, seed: int = 0, swaps: float = 1.2) -> Cipher:
    """Word for word, no word twice in a line, neighbours sometimes swapped."""
    random = np.random.default_rng(seed)
    weights = 1 / (np.arange(WORDS) + 3)
    pairs, links = [], []
    for _ in range(n):
        line = random.choice(WORDS, random.integers(3, 11), replace=False, p=weights / weights.sum())
        english = [tiny.words()[k] for k in line]
        order = np.argsort(np.arange(line.size) + random.uniform(0, swaps, line.size)).tolist()
        pairs.append((" ".join(english), " ".join(tiny.cipher_word(english[i]) for i in order)))
        links.append(sorted((i, j) for j, i in enumerate(order)))
    return Cipher(pairs, links)


def precision_and_recall(
    found: Iterable[list[tuple[int, int]]], true: list[list[tuple[int, int]]]
) -> tuple[float, float]:
    ours = {(k, link) for k, links in enumerate(found) for link in links}
    theirs = {(k, link) for k, links in enumerate(true) for link in links}
    return len(ours & theirs) / len(ours), len(ours & theirs) / len(theirs)


def assert_same(one: Links, two: Links) -> None:
    for name in ("pair_offsets", "english", "foreign", "posterior"):
        mine, other = getattr(one, name), getattr(two, name)
        assert mine.dtype == other.dtype
        assert mine.tobytes() == other.tobytes(), name


def assert_well_formed(links: Links, lengths: list[tuple[int, int]]) -> None:
    """Links of every pair, in range, sorted, none twice, each with a probability."""
    assert len(links) == len(lengths)
    assert links.pair_offsets.dtype == np.int64
    assert links.english.dtype == links.foreign.dtype == np.uint16
    assert links.posterior.dtype == np.float32
    assert links.pair_offsets[0] == 0
    assert links.pair_offsets[-1] == links.english.size == links.foreign.size == links.posterior.size
    assert ((links.posterior >= 0) & (links.posterior <= 1)).all()
    for of_pair, (m, n) in zip(links, lengths, strict=True):
        assert of_pair == sorted(set(of_pair))
        assert all(0 <= i < m and 0 <= j < n for i, j in of_pair)


def lengths(pairs: list[tuple[str, str]]) -> list[tuple[int, int]]:
    return [(len(english.split()), len(foreign.split())) for english, foreign in pairs]


def link_sets(links: Links) -> list[set[tuple[int, int]]]:
    return [set(of_pair) for of_pair in links]


def lexicon(*entries: tuple[str, str]) -> Lexicon:
    unknown = np.full(len(entries), np.nan, np.float32)
    return Lexicon([english for english, _ in entries], [foreign for _, foreign in entries], unknown, unknown, unknown)


@pytest.fixture(scope="module")
def bitext() -> Cipher:
    return cipher(300)


@pytest.fixture(scope="module")
def aligned(bitext: Cipher) -> Alignment:
    return align(bitext.pairs)


@pytest.fixture(scope="module")
def new() -> Cipher:
    """Text of the same language that is not in the bitext."""
    return cipher(40, seed=5)


# What comes out


def test_links_of_a_cipher_are_found(aligned, bitext):
    precision, recall = precision_and_recall(aligned.links, bitext.links)
    assert precision > 0.99
    assert recall > 0.95
    assert_well_formed(aligned.links, lengths(bitext.pairs))
    assert aligned.links.posterior.min() >= 0.2


def test_likely_links_are_all_with_some_probability(aligned, bitext):
    assert_well_formed(aligned.likely, lengths(bitext.pairs))
    assert aligned.likely.posterior.min() >= 0.01
    for k in range(len(bitext.pairs)):
        posteriors = []
        for links in (aligned.links, aligned.likely):
            own = slice(links.pair_offsets[k], links.pair_offsets[k + 1])
            posteriors.append(dict(zip(links[k], links.posterior[own].tolist(), strict=True)))
        assert posteriors[0] == {link: p for link, p in posteriors[1].items() if p >= np.float32(0.2)}


def test_training_is_told_of(aligned):
    assert aligned.too_long == 0
    history = np.array(aligned.log_likelihood)
    assert history.shape == (AlignerSettings().iterations, 2)
    assert (history < 0).all()
    assert (history[-1] > history[0]).all()
    assert all(type(value) is float for both in aligned.log_likelihood for value in both)
    assert aligned.model.settings == AlignerSettings()
    assert align([("a", "b")], settings=AlignerSettings(method="ibm2")).log_likelihood == []


@METHODS
@pytest.mark.parametrize("symmetrization", SYMMETRIZATIONS)
def test_every_symmetrization_finds_them(bitext, symmetrization, method):
    found = align(bitext.pairs, symmetrize=symmetrization, settings=AlignerSettings(method=method))
    precision, recall = precision_and_recall(found.links, bitext.links)
    assert precision > 0.99
    assert recall > 0.95
    assert_well_formed(found.links, lengths(bitext.pairs))
    assert_well_formed(found.likely, lengths(bitext.pairs))


def test_symmetrizations_contain_each_other_and_leave_likely_alone(aligned, new):
    # hardly trained, so that the two directions differ
    rough = AlignerSettings(iterations=1, alpha=0.1)
    found = {name: align(new.pairs, symmetrize=name, settings=rough) for name in SYMMETRIZATIONS}
    sets = {name: link_sets(result.links) for name, result in found.items()}
    assert sets["intersection"] != sets["union"]
    order = ["intersection", "grow-diag", "grow-diag-final-and", "grow-diag-final", "union"]
    for less, more in itertools.pairwise(order):
        assert all(a <= b for a, b in zip(sets[less], sets[more], strict=True)), (less, more)
    for result in found.values():
        assert_same(result.likely, found["posterior"].likely)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(thresholds=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))
def test_a_higher_threshold_takes_some_of_the_links(aligned, new, thresholds):
    low, high = (align(new.pairs[:8], model=aligned.model, threshold=value).links for value in thresholds)
    assert all(a >= b for a, b in zip(link_sets(low), link_sets(high), strict=True))
    for links, threshold in ((low, thresholds[0]), (high, thresholds[1])):
        assert (links.posterior >= np.float32(threshold)).all()


def test_the_ends_of_the_threshold(bitext, aligned):
    every = align(bitext.pairs, threshold=0).links
    assert all(a >= b for a, b in zip(link_sets(every), link_sets(aligned.likely), strict=True))
    assert every.posterior.size >= aligned.likely.posterior.size
    certain = align(bitext.pairs, threshold=1).links
    assert (certain.posterior == 1).all()
    assert len(certain) == len(every) == len(bitext.pairs)


def test_a_threshold_is_for_the_posterior_method_alone(new):
    one, two = (align(new.pairs, symmetrize="union", threshold=value).links for value in (0, 1))
    assert_same(one, two)


# What goes in


def test_strings_tokens_and_files_are_the_same_text(aligned, bitext, tmp_path):
    as_tsv(tmp_path / "pairs.tsv", bitext.pairs)
    (tmp_path / "pairs.tsv.gz").write_bytes(gzip.compress((tmp_path / "pairs.tsv").read_bytes()))
    for number, name in enumerate(("en", "xx")):
        (tmp_path / name).write_text("".join(f"{pair[number]}\n" for pair in bitext.pairs), encoding="utf-8")
    for given_pairs in (
        [(english.split(), foreign.split()) for english, foreign in bitext.pairs],
        [(english, tuple(foreign.split())) for english, foreign in bitext.pairs],
        (pair for pair in bitext.pairs),
        [(f" \t{english.replace(' ', '  ')}\n", foreign) for english, foreign in bitext.pairs],
        str(tmp_path / "pairs.tsv"),
        tmp_path / "pairs.tsv.gz",
        f"{tmp_path / 'en'},{tmp_path / 'xx'}",
    ):
        found = align(given_pairs)
        assert_same(found.links, aligned.links)
        assert_same(found.likely, aligned.likely)


def test_tokens_may_hold_anything():
    pairs = [(["New York", "is", ""], ["Nueva York", "es", "\n"]), (["", "New York"], ["\n", "Nueva York"])] * 20
    found = align(pairs)
    assert list(found.links) == [[(0, 0), (1, 1), (2, 2)], [(0, 0), (1, 1)]] * 20
    assert found.model.english_words.words() == ["new york", "is", ""]


def test_case_is_looked_at_only_if_wanted(bitext, aligned):
    mixed = [
        (english.upper() if k % 2 else english, foreign.title() if k % 3 else foreign)
        for k, (english, foreign) in enumerate(bitext.pairs)
    ]
    found = align(mixed)
    assert_same(found.links, aligned.links)
    assert found.model.english_words.words() == aligned.model.english_words.words()
    kept = align(mixed, lowercase=False)
    assert len(kept.model.english_words) > 1.5 * len(found.model.english_words)
    assert (found.model.lowercase, kept.model.lowercase) == (True, False)
    assert precision_and_recall(kept.links, bitext.links)[1] > 0.9


def test_pairs_that_are_too_long_are_left_out_and_change_no_other(bitext):
    most = 7
    too_long = [max(pair) > most for pair in lengths(bitext.pairs)]
    assert 50 < sum(too_long) < 250
    wanted = AlignerSettings(max_tokens=most)
    found = align(bitext.pairs, settings=wanted)
    assert found.too_long == sum(too_long)
    assert len(found.links) == len(found.likely) == len(bitext.pairs)
    emptied = [("", "") if out else pair for pair, out in zip(bitext.pairs, too_long, strict=True)]
    without = align(emptied, settings=wanted)
    assert without.too_long == 0
    assert list(found.links) == list(without.links)
    assert all(found.links[k] == [] for k in np.flatnonzero(too_long))
    assert all(found.links[k] for k in np.flatnonzero(~np.array(too_long)))


def test_one_long_side_is_enough_to_be_too_long():
    pairs = [("a b c d", "x"), ("a", "x y z x"), ("a b c d", ""), *[("a", "x"), ("a b", "x y")] * 9]
    found = align(pairs, settings=AlignerSettings(max_tokens=2))
    assert found.too_long == 3
    assert list(found.links) == [[], [], [], *[[(0, 0)], [(0, 0), (1, 1)]] * 9]
    assert align(pairs, settings=AlignerSettings(max_tokens=4)).too_long == 0


def test_malformed_lines_keep_their_place(aligned, bitext, tmp_path):
    lines = [f"{english}\t{foreign}" for english, foreign in bitext.pairs]
    lines[17], lines[255], lines[30], lines[31] = "only one column", "one\ttwo\tthree", "", "alone\t"
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = align(path)
    assert len(found.links) == 300
    emptied = [("", "") if k in (17, 255, 30) else pair for k, pair in enumerate(bitext.pairs)]
    emptied[31] = ("alone", "")
    assert_same(found.links, align(emptied).links)
    assert [k for k, links in enumerate(found.links) if not links] == [17, 30, 31, 255]


@pytest.mark.parametrize(
    "pairs",
    [
        [("", "")],
        [("a", ""), ("", "x"), ("a", "x")],
        [("a", "x")],
        [("a " * 40, "x")] * 3,
        [("a a a", "x x x")] * 30,
        [(" ", "\t"), ("a b", "x y")],
        [("a", "x"), ("b " * 2000, "y " * 2000)],
    ],
    ids=["nothing", "one side", "one word", "many to one", "the same words", "white space", "very long"],
)
@METHODS
def test_odd_bitexts(pairs, method):
    found = align(pairs, settings=AlignerSettings(method=method))
    assert_well_formed(found.links, lengths(pairs))
    assert_well_formed(found.likely, lengths(pairs))


@pytest.mark.parametrize("pairs", [[], [("", "x")], [("a", "")]], ids=["no pair", "no English", "no foreign"])
@METHODS
def test_no_words_are_no_links(aligned, pairs, method):
    assert list(align(pairs, model=aligned.model).links) == [[] for _ in pairs]
    found = align(pairs, settings=AlignerSettings(method=method))
    assert list(found.links) == list(found.likely) == [[] for _ in pairs]


def test_a_language_whose_words_keep_their_order():
    """Then one kind of jump alone is ever seen, and in many sentences."""
    lines = [list(dict.fromkeys(line.split()))[: 1 + k % 7] for k, line in enumerate(tiny.english_lines(1500))]
    found = align([(line, [tiny.cipher_word(word) for word in line]) for line in lines])
    assert np.isfinite(found.links.posterior).all()
    right = [links == [(k, k) for k in range(len(line))] for links, line in zip(found.links, lines, strict=True)]
    assert np.mean(right) > 0.98


def test_a_sentence_of_one_word_after_a_language_that_links_words_one_to_one(aligned, bitext):
    word = bitext.pairs[0][0].split()[0]
    assert list(align([(word, tiny.cipher_word(word))], model=aligned.model).links) == [[(0, 0)]]


line_of_tokens = st.lists(st.sampled_from(["a", "b", "B", "c", "ab", "中", "中文字", "é", "กำ"]), max_size=9)


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(st.tuples(line_of_tokens, line_of_tokens), max_size=4),
    symmetrization=st.sampled_from(SYMMETRIZATIONS),
    method=st.sampled_from(["hmm", "ibm2"]),
    iterations=st.integers(0, 3),
    block_tokens=st.sampled_from([15, 1000, 1000]),
    characters=st.booleans(),
)
def test_any_bitext_gives_links_of_its_tokens(pairs, symmetrization, method, iterations, block_tokens, characters):
    known = [(["word"], ["mot"]), *pairs]
    found = align(
        known, symmetrize=symmetrization, characters=characters,
        settings=AlignerSettings(method=method, iterations=iterations, block_tokens=block_tokens),
    )  # fmt: skip
    for links in (found.links, found.likely):
        assert_well_formed(links, [(len(english), len(foreign)) for english, foreign in known])


# Text without spaces


def unspaced(bitext: Cipher, script: str) -> tuple[list[list[str]], Cipher]:
    """The foreign side in words of one or two characters of a script, as lists of words and with spaces."""
    if script == "han":
        letters = [chr(0x4E00 + 41 * k) for k in range(WORDS)]
    else:
        consonants = [chr(0x0E01 + k) for k in range(46)]
        letters = [one + mark for mark in ("", "\u0e48", "\u0e34", "\u0e34\u0e48") for one in consonants][:WORDS]
    spelled = {
        tiny.cipher_word(word): letters[k] + (letters[(7 * k + 3) % WORDS] if k % 2 else "")
        for k, word in enumerate(tiny.words()[:WORDS])
    }
    foreign = [[spelled[word] for word in line.split()] for _, line in bitext.pairs]
    pairs = [(english, " ".join(line)) for (english, _), line in zip(bitext.pairs, foreign, strict=True)]
    return foreign, Cipher(pairs, bitext.links)


@pytest.mark.parametrize("script", ["han", "thai"])
def test_characters_of_segmented_text_are_links_between_its_words(bitext, script):
    _, spaced = unspaced(bitext, script)
    found = align(spaced.pairs, characters=True)
    assert_well_formed(found.links, lengths(spaced.pairs))
    assert_well_formed(found.likely, lengths(spaced.pairs))
    precision, recall = precision_and_recall(found.links, spaced.links)
    assert precision > 0.95
    assert recall > 0.9
    assert found.model.characters
    assert len(found.model.foreign_words) <= WORDS
    assert not align(spaced.pairs).model.characters


@pytest.mark.parametrize("script", ["han", "thai"])
def test_characters_of_unsegmented_text_link_the_words_of_the_other_side(bitext, script):
    foreign, spaced = unspaced(bitext, script)
    run_on = [(english, "".join(line)) for (english, _), line in zip(spaced.pairs, foreign, strict=True)]
    found = align(run_on, characters=True)
    assert_well_formed(found.links, lengths(run_on))
    linked = [(i, 0) for k, (m, _) in enumerate(lengths(run_on)) for i in range(m)]
    assert sum(map(len, found.links)) > 0.9 * len(linked)
    # what is a word each is hardly ever seen again
    assert sum(map(len, align(run_on).links)) < 0.2 * len(linked)


def test_characters_of_tokens_that_mix_scripts():
    pairs = [("the cat 3d", "猫 3D"), ("the cat", "猫"), ("a dog", "犬"), ("dog 3d", "犬3D"), ("cat dog", "猫犬")] * 20
    found = align(pairs, characters=True)
    assert found.model.foreign_words.words() == ["猫", "3d", "犬"]
    assert found.links[0][-2:] == [(1, 0), (2, 1)]
    assert found.links[3] == [(0, 0), (1, 0)]
    assert found.links[4] == [(0, 0), (1, 0)]
    assert len(align(pairs).model.foreign_words) == 5


def test_text_with_spaces_is_the_same_with_characters(aligned, bitext):
    assert_same(align(bitext.pairs, characters=True).links, aligned.links)


def test_the_length_of_a_pair_is_counted_in_characters():
    pairs = [("a b", "中文字"), ("a b", "中 文")]
    assert align(pairs, characters=True, settings=AlignerSettings(max_tokens=2)).too_long == 1
    assert align(pairs, settings=AlignerSettings(max_tokens=2)).too_long == 0


# Lexicons


@pytest.fixture(scope="module")
def crossed(bitext: Cipher) -> list[tuple[str, str]]:
    """The bitext, and one more pair whose first and last words are new and stand crosswise."""
    english, foreign = bitext.pairs[0]
    return [*bitext.pairs, (f"Rarus {english} unicus", f"Drei {foreign} eins")]


def crosswise(links: Links) -> bool:
    pair = dict(links[-1])
    last = max(pair)
    assert last > 2
    return (pair.get(0), pair.get(last)) == (last, 0)


def test_a_lexicon_decides_where_nothing_else_can(crossed, tmp_path):
    assert not crosswise(align(crossed).links)
    entries = lexicon(("rarus", "eins"), ("unicus", "drei"))
    assert crosswise(align(crossed, lexicon=entries).links)
    write_lexicon(entries, tmp_path / "lexicon.tsv")
    (tmp_path / "plain.txt").write_text("rarus\teins\nunicus\tdrei\t0.9\n", encoding="utf-8")
    assert crosswise(align(crossed, lexicon=tmp_path / "lexicon.tsv").links)
    assert crosswise(align(crossed, lexicon=str(tmp_path / "plain.txt")).links)


def test_a_lexicon_is_in_any_case_where_text_is(crossed):
    shouted = lexicon(("RARUS", "Eins"), ("Unicus", "DREI"))
    assert crosswise(align(crossed, lexicon=shouted).links)
    assert not crosswise(align(crossed, lexicon=shouted, lowercase=False).links)
    assert crosswise(align(crossed, lexicon=lexicon(("Rarus", "eins"), ("unicus", "Drei")), lowercase=False).links)
    assert shouted.english == ["RARUS", "Unicus"]


@METHODS
def test_a_lexicon_of_other_words_changes_nothing(bitext, aligned, method):
    wanted = AlignerSettings(method=method)
    phrase = " ".join(bitext.pairs[0][0].split()[:2])
    entries = lexicon(("nobody", "knows"), (phrase, bitext.pairs[0][1].split()[0]), (tiny.words()[0], "knows"))
    assert_same(align(bitext.pairs, lexicon=entries, settings=wanted).links, align(bitext.pairs, settings=wanted).links)


def test_a_lexicon_of_characters_helps_characters():
    pairs = [("rarus unicus", "三一"), ("rarus unicus", "三 一")]
    entries = lexicon(("rarus", "一"), ("unicus", "三"))
    assert align(pairs, characters=True, lexicon=entries).links[1] == [(0, 1), (1, 0)]


def test_a_lexicon_of_words_helps_characters():
    pairs = [("rarus unicus", "三四一二"), ("rarus unicus", "三四 一二")]
    entries = lexicon(("rarus", "一二"), ("unicus", "三四"), ("rarus unicus", "三四一二"), ("三四", "一二"))
    found = align(pairs, characters=True, lexicon=entries)
    assert found.links[1] == [(0, 1), (1, 0)]
    assert found.unused_entries == 2
    assert align(pairs, lexicon=entries).unused_entries == 1
    assert align(pairs).unused_entries == 0


def test_a_lexicon_may_go_with_a_model(aligned, crossed):
    assert not crosswise(align(crossed[-1:], model=aligned.model).links)
    entries = lexicon(("rarus", "eins"), ("unicus", "drei"))
    assert crosswise(align(crossed[-1:], model=aligned.model, lexicon=entries).links)


def test_the_lexicon_of_a_bitext_has_the_translations(bitext):
    with BitextAligner(encode_pairs(bitext.pairs)) as aligner:
        found = aligner.lexicon()
        every = aligner.lexicon(0, 0)
    best: dict[str, tuple[str, float]] = {}
    for english, foreign, p in zip(found.english, found.foreign, found.english_given_foreign.tolist(), strict=True):
        assert best.setdefault(foreign, (english, p))[1] >= p
    right = [tiny.cipher_word(english) == foreign for foreign, (english, _) in best.items()]
    assert len(right) > 0.9 * WORDS
    assert np.mean(right) > 0.98
    assert found.count.min() >= 0.5
    assert {*zip(every.english, every.foreign, strict=True)} >= {*zip(found.english, found.foreign, strict=True)}


# Models


def test_a_model_knows_what_it_was_trained_on(aligned, bitext, new):
    ten = Cipher(new.pairs[:10], new.links[:10])
    alone = precision_and_recall(align(ten.pairs).links, ten.links)[1]
    precision, recall = precision_and_recall(align(ten.pairs, model=aligned.model).links, ten.links)
    assert recall > max(0.9, alone + 0.1)
    assert precision > 0.98


@METHODS
def test_a_saved_model_gives_the_same_links_of_new_text(bitext, new, tmp_path, method):
    model = align(bitext.pairs, settings=AlignerSettings(method=method)).model
    model.save(tmp_path / "model.npz")
    expected = align(new.pairs, model=model)
    for loaded in (AlignmentModel.load(tmp_path / "model.npz"), tmp_path / "model.npz", str(tmp_path / "model.npz")):
        found = align(new.pairs, model=loaded)
        assert list(found.links) == list(expected.links)
        np.testing.assert_allclose(found.links.posterior, expected.links.posterior, atol=1e-3)
        assert found.model.settings.method == method


def test_a_model_stays_as_it_is(aligned, new):
    def content() -> list[bytes]:
        p = aligned.model.parameters
        arrays = [*p.counts, p.foreign_null, p.english_null, p.foreign_jumps, p.english_jumps]
        return [array.tobytes() for array in (*arrays, *aligned.model.english_words.to_arrays())]

    before = content()
    align([*new.pairs, ("unheard of", "inouï encore")], model=aligned.model)
    assert content() == before


def test_words_a_model_does_not_know_are_learned_from_the_text(aligned, new):
    english, foreign = new.pairs[0]
    added = [(f"unheard {english}", f"{foreign} inouï"), ("entirely different", "tout autre")]
    found = align(added, model=aligned.model)
    assert set(found.links[0]) >= {(i + 1, j) for i, j in align(new.pairs[:1], model=aligned.model).links[0]}
    old, words = aligned.model.english_words.words(), found.model.english_words.words()
    assert words[: len(old)] == old
    assert words[len(old) :] == ["unheard", "entirely", "different"]
    assert found.model.parameters.counts.indptr.size == len(found.model.foreign_words) + 1
    assert found.model.parameters.english_null.size == len(words)


def test_more_text_adds_to_what_a_model_knows(aligned, tmp_path, new):
    found = align(new.pairs, model=aligned.model)
    before, after = (result.model.parameters.counts for result in (aligned, found))
    assert after.values.sum() == pytest.approx(before.values.sum() + found.likely.posterior.sum(), rel=0.02)
    found.model.save(tmp_path / "model.npz")
    more = cipher(40, seed=6)
    again = align(more.pairs, model=tmp_path / "model.npz")
    assert again.model.parameters.counts.values.sum() > after.values.sum() + 100
    assert precision_and_recall(again.links, more.links)[1] > 0.9


def test_settings_go_before_those_of_the_model(aligned, new):
    wanted = AlignerSettings(max_tokens=5, iterations=2)
    found = align(new.pairs, model=aligned.model, settings=wanted)
    assert found.model.settings == wanted
    assert len(found.log_likelihood) == 2
    assert found.too_long > 0
    made = align(new.pairs, settings=wanted).model
    assert align(new.pairs, model=made).too_long == found.too_long


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("characters", [True, False])
def test_a_model_says_how_text_is_prepared(lowercase, characters):
    pairs = [("The cat", "猫犬 Cat"), ("the", "犬 cat")] * 3
    model = align(pairs, lowercase=lowercase, characters=characters).model
    assert (model.lowercase, model.characters) == (lowercase, characters)
    found = align(pairs, model=model, lowercase=not lowercase, characters=not characters)
    assert (found.model.lowercase, found.model.characters) == (lowercase, characters)
    assert found.model.english_words.words() == model.english_words.words()
    assert found.model.foreign_words.words() == model.foreign_words.words()
    assert ("The" in model.english_words.words()) == (not lowercase)
    assert ("猫" in model.foreign_words.words()) == characters


def test_longer_sentences_than_a_model_has_seen(aligned, new):
    english, foreign = (" ".join(pair[side] for pair in new.pairs) for side in (0, 1))
    found = align([(english, foreign)], model=aligned.model)
    assert_well_formed(found.links, lengths([(english, foreign)]))
    assert len(found.links[0]) > 0.5 * len(english.split())


# Threads, blocks, progress


@METHODS
def test_the_number_of_threads_changes_nothing(bitext, method):
    results = [align(bitext.pairs, threads=n, settings=AlignerSettings(method=method)) for n in (1, 2, 5)]
    for result in results[1:]:
        assert_same(result.links, results[0].links)
        assert_same(result.likely, results[0].likely)
        assert result.log_likelihood == results[0].log_likelihood
        counts = [r.model.parameters.counts.values.tobytes() for r in (result, results[0])]
        assert counts[0] == counts[1]


@METHODS
def test_small_blocks_give_nearly_the_same(new, method, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for pairs, size in ((new.pairs[:4], 1), (new.pairs, 150)):
        whole, found = (align(pairs, settings=AlignerSettings(method, block_tokens=n)) for n in (1 << 20, size))
        assert list(found.links) == list(whole.links)
        np.testing.assert_allclose(found.links.posterior, whole.links.posterior, atol=1e-3)
        np.testing.assert_allclose(found.log_likelihood, whole.log_likelihood, rtol=1e-5)
    assert list(tmp_path.iterdir()) == []


def test_links_come_block_by_block(new, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    whole = align(new.pairs).links
    with BitextAligner(encode_pairs(new.pairs), AlignerSettings(block_tokens=150)) as aligner:
        blocks = list(aligner.links(("posterior", 0.2), ("posterior", 0.9), ("posterior", 0.0)))
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []
    assert len(blocks) > 2
    joined = [[links for block in blocks for links in block[k]] for k in range(3)]
    assert joined[0] == list(whole)
    assert all(set(b) <= set(a) <= set(c) for a, b, c in zip(*joined, strict=True))


def test_blocks_of_characters_are_projected_each_on_its_own(bitext):
    _, spaced = unspaced(Cipher(bitext.pairs[:40], bitext.links[:40]), "han")
    whole, found = (
        align(spaced.pairs, characters=True, settings=AlignerSettings(block_tokens=n)) for n in (1 << 20, 200)
    )
    assert list(found.links) == list(whole.links)


@pytest.mark.parametrize("symmetrization", ["posterior", "union"])
def test_progress_goes_from_nothing_to_all(new, symmetrization):
    told: list[tuple[float, str]] = []
    align(
        new.pairs[:4], symmetrize=symmetrization, settings=TINY_BLOCKS,
        on_progress=lambda done, note: told.append((done, note)),
    )  # fmt: skip
    shares = [done for done, _ in told]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.2
    assert shares[-1] <= 1
    assert all(note for _, note in told)


def test_an_interrupted_alignment_leaves_no_files(new, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def interrupt(done: float, _: str) -> None:
        if done > 0.5:
            assert list(tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align(new.pairs[:4], settings=TINY_BLOCKS, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


# Refusals


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"symmetrize": "union-diag"}, RecipeError, "'union-diag' is no symmetrization; give one of posterior, inter"),
        ({"threshold": 1.01}, RecipeError, "1.01"),
        ({"threshold": -0.1}, RecipeError, "between 0 and 1"),
        ({"threshold": float("nan")}, RecipeError, "nan"),
        ({"threads": 0}, RecipeError, "0 threads"),
        ({"threads": -2}, RecipeError, "-2 threads"),
        ({"model": "gone.npz"}, InputError, "'gone.npz' does not exist"),
        ({"lexicon": "gone.tsv"}, CorpusError, "'gone.tsv' does not exist"),
        ({"pairs": "gone.tsv"}, CorpusError, "'gone.tsv' does not exist"),
        ({"pairs": [("a", "x"), ("b\ud800", "y")]}, CorpusError, "Pair 2 holds half a surrogate pair"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(arguments, error, reason, monkeypatch):
    def work(*_: object, **__: object) -> None:
        raise AssertionError("training has begun")

    monkeypatch.setattr(lingraft.evidence.alignment.aligner, "Training", work)
    with pytest.raises(error) as caught:
        align(**{"pairs": [("a", "x")], **arguments})
    assert reason in str(caught.value)


def test_a_link_can_be_written_as_json(aligned):
    assert json.loads(json.dumps(aligned.links[0])) == [list(link) for link in aligned.links[0]]


def test_a_path_of_any_kind_names_a_file(tmp_path):
    path = as_tsv(tmp_path / "a b.tsv", [("a", "x")] * 5)

    class Named(os.PathLike[str]):
        def __fspath__(self) -> str:
            return str(path)

    assert list(align(Named()).links) == list(align(path).links) == [[(0, 0)]] * 5
