"""English trees over word links: what is carried over is right, and what is not known stays open."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trees import random_parser, random_sentences, random_tree, sentence

import tiny
from lingraft.errors import CorpusError
from lingraft.tasks.parsing import (
    Parse,
    ParsingTask,
    Sentence,
    count_attachments,
    read_conllu,
    write_conllu,
)
from lingraft.tasks.parsing.biaffine import BiaffineHead, HeadDoubt, ParserSettings, WordStates
from lingraft.tasks.parsing.conventions import Conventions
from lingraft.tasks.parsing.cutting import treebank_words
from lingraft.tasks.parsing.projection import joined, linked_pairs, one_to_one, project, project_trees
from lingraft.tasks.parsing.treebank import UNKNOWN

WORDS = ["word"] * 9
SENTENCES = random_sentences(12, seed=5, shortest=3, longest=9)


def crossing(heads) -> set[int]:
    """Words whose arc crosses another, by the definition: one end inside the other arc, one outside it."""
    found = set()
    for word, head in enumerate(heads, 1):
        for other, its in enumerate(heads, 1):
            if min(head, its) > 0:
                inside = [min(word, head) < end < max(word, head) for end in (other, its)]
                outside = [end < min(word, head) or end > max(word, head) for end in (other, its)]
                if (inside[0] and outside[1]) or (inside[1] and outside[0]):
                    found |= {word - 1, other - 1}
    return found


@given(st.integers(1, 9), st.integers(0, 10_000))
def test_a_translation_word_by_word_in_any_order_has_the_same_tree(n, seed):
    random = np.random.default_rng(seed)
    heads = random_tree(n, random)
    deprels = [f"r{k}" if head else "root" for k, head in enumerate(heads)]
    place = random.permutation(n).tolist()
    found, relations = project(Parse(tuple(heads), tuple(deprels)), WORDS, dict(enumerate(place)), WORDS[:n])
    expected, named = [UNKNOWN] * n, ["_"] * n
    for word, head in enumerate(heads):
        expected[place[word]] = place[head - 1] + 1 if head else 0
        named[place[word]] = deprels[word]
    for word in crossing(expected):
        expected[word], named[word] = UNKNOWN, "_"
    assert (found, relations) == (expected, named)


def test_what_has_no_link_gets_no_head_and_is_no_head():
    # the house of stone stood: house <- the, stone; stone <- of; stood <- house
    parse = Parse((2, 5, 4, 2, 0), ("det", "nsubj", "case", "nmod", "root"))
    heads, deprels = project(parse, WORDS, {1: 0, 3: 1, 4: 2}, WORDS[:4])
    assert (heads, deprels) == ([3, 1, 0, UNKNOWN], ["nsubj", "nmod", "root", "_"])
    heads, deprels = project(parse, WORDS, {3: 1, 4: 2}, WORDS[:4])
    assert (heads, deprels) == ([UNKNOWN, UNKNOWN, 0, UNKNOWN], ["_", "_", "root", "_"])


def test_a_compound_behind_its_head_is_a_modifier():
    parse = Parse((2, 0), ("compound", "root"))  # stone wall
    assert project(parse, WORDS, {0: 1, 1: 0}, WORDS[:2]) == ([0, 1], ["root", "nmod"])  # mur pierre
    assert project(parse, WORDS, {0: 0, 1: 1}, WORDS[:2]) == ([2, 0], ["compound", "root"])  # Steinwand
    assert project(parse, WORDS, {0: 1, 1: 0}, WORDS[:2], Conventions(behind={})) == ([0, 1], ["root", "compound"])


def test_only_words_with_one_link_on_both_sides_count():
    assert one_to_one([(0, 0), (1, 1), (1, 2), (2, 3), (3, 3), (4, 5)]) == {0: 0, 4: 5}


def test_neighbours_with_the_same_only_link_are_one_word_where_treebanks_have_one():
    chinese = [(character, False) for character in "我爱北京"]
    links = [(0, 0), (1, 1), (2, 2), (2, 3)]
    assert joined(chinese, links, "zh") == ([("我", False), ("爱", False), ("北京", False)], [(0, 0), (1, 1), (2, 2)])
    vietnamese = [("Tôi", True), ("nghiên", True), ("cứu", False), (".", True)]
    found, between = joined(vietnamese, [(0, 0), (1, 1), (1, 2), (2, 3)], "vi")
    assert found == [("Tôi", True), ("nghiên cứu", False), (".", True)]
    assert between == [(0, 0), (1, 1), (2, 2)]
    # a second link, another language, punctuation: nothing is joined
    assert len(joined(vietnamese, [(0, 0), (1, 1), (1, 2), (3, 2)], "vi")[0]) == 4
    assert len(joined(vietnamese, [(1, 1), (1, 2)], "ru")[0]) == 4
    assert len(joined(vietnamese, [(1, 2), (1, 3)], "vi")[0]) == 4
    assert len(joined([("北", True), ("京", False)], [(0, 0), (0, 1)], "zh")[0]) == 2
    # a unit of Thai, Khmer or Myanmar may end in a mark
    for word in ("กินที่", "ភាសា", "မြန်"):
        pieces = treebank_words(word, "xx")
        assert len(pieces) > 1
        assert joined(pieces, [(0, k) for k in range(len(pieces))], "xx") == ([(word, True)], [(0, 0)])


@pytest.mark.parametrize(
    ("line", "language", "words"),
    [
        ("I can't; it's Bill's.", "en", "I ca n't ; it 's Bill 's ."),
        ("We cannot say they’d've known", "en", "We can not say they ’d 've known"),
        ("C'est qu’aujourd'hui l'homme n'y va pas", "fr", "C' est qu’ aujourd'hui l' homme n' y va pas"),
        ("Dell'arte all'estero e un'idea, dov'è", "it", "Dell' arte all' estero e un' idea , dov' è"),
        ("l'home", "ca-ES", "l' home"),
        ("п'ять can't", "uk", "п'ять can't"),
        ("l'homme", "hi", "l'homme"),
    ],
)
def test_words_are_cut_as_treebanks_have_them(line, language, words):
    assert [word for word, _ in treebank_words(line, language)] == words.split()


@given(st.text("aeln't’sdC'. k", max_size=25), st.sampled_from(["en", "fr", "ru"]))
def test_cutting_loses_no_character(line, language):
    pieces = treebank_words(line, language)
    assert all(word for word, _ in pieces)
    assert "".join(word + " " * space for word, space in pieces).split() == line.split()


class Chain:
    """Stands for an English parser: every word hangs on the one before it."""

    labels = ("root", "dep")

    def parse(self, sentences, precision):
        return [Parse(tuple(range(len(words))), ("root", *("dep",) * (len(words) - 1))) for words in sentences]


def reversed_pairs(n: int = 400) -> list[tuple[str, str]]:
    """English lines, and their cipher in the opposite order of words."""
    return [(line, " ".join(reversed(tiny.cipher(line).split()))) for line in tiny.english_lines(n, longest=14)]


def test_a_language_of_the_opposite_order_gets_opposite_trees():
    linked = linked_pairs(reversed_pairs(), "xx")
    found = project_trees(Chain(), linked, at_most=50, seed=3)
    assert len(found.sentences) == 50
    assert found.attached / found.words > 0.8
    right = [
        head == (0 if word == len(each) else word + 1)
        for each in found.sentences
        for word, head in enumerate(each.heads, 1) if head != UNKNOWN
    ]  # fmt: skip
    assert np.mean(right) > 0.98
    again, other = (project_trees(Chain(), linked, at_most=50, seed=seed).sentences for seed in (3, 4))
    assert found.sentences == again != other


def arabic(line: str) -> str:
    """A line in Arabic letters, its most frequent word written as a conjunction at the beginning of the next word."""
    letters = str.maketrans("aeioubdfgklmnprst", "دذرزطظعغشصضجحخثقم")
    words = ["و" if word == tiny.words()[0] else word.translate(letters) for word in line.split()]
    return " ".join(words).replace("و ", "و")


def test_arabic_conjunctions_are_words_of_their_own():
    lines = tiny.english_lines(400, longest=14)
    linked = linked_pairs([(line, arabic(line)) for line in lines], "ar")
    assert len(linked.pairs) > 100
    of_and = [
        pair.foreign[pair.counterparts[place]]
        for pair in linked.pairs
        for place, (word, _) in enumerate(pair.english) if word == tiny.words()[0] and place in pair.counterparts
    ]  # fmt: skip
    assert len(of_and) > 100
    assert np.mean([piece == ("و", False) for piece in of_and]) > 0.8  # at the end of a line it has nothing behind it
    # other languages' words stay as they are
    persian = linked_pairs([(line, arabic(line)) for line in lines], "fa")
    assert persian.pairs
    assert not any(piece == ("و", False) for pair in persian.pairs for piece in pair.foreign)


def test_too_few_links_give_no_tree():
    shifted = zip(reversed_pairs(60), reversed_pairs(61)[1:], strict=True)
    pairs = [(english, foreign) for (english, _), (_, foreign) in shifted]
    linked = linked_pairs(pairs, "xx", min_share=1.0)
    assert linked.of_length > 30
    assert project_trees(Chain(), linked).sentences == []


def test_what_is_no_sentence_is_left_out():
    line = "badi fogu meka lona ripe sitanu"
    pairs = [(line, tiny.cipher(line))] * 30
    assert linked_pairs(pairs, "xx").of_length == 30
    for english, foreign in (
        ("badi fogu meka lona ripe", tiny.cipher(line)),  # five words
        (line, tiny.cipher("badi fogu meka lona ripe")),
        (" ".join([line] * 7), " ".join([tiny.cipher(line)] * 7)),  # 42 words
        ("badi fogu 1 2 3 4", tiny.cipher(line)),
    ):
        assert linked_pairs([(english, foreign)] * 30, "xx").of_length == 0


def test_a_sentence_is_taken_once():
    linked = linked_pairs(reversed_pairs(40) * 3, "xx")
    found = project_trees(Chain(), linked).sentences
    assert len(found) == len({each.forms for each in found}) > 10
    assert len(linked.pairs) > 2 * len(found)


def test_a_tree_in_part_is_written_and_read(tmp_path):
    part = Sentence.from_words(["a", "b c", "d"], ["sent_id = 1"], [True, False, True])
    part = part.with_tree([2, 0, UNKNOWN], ["det", "root", "_"])
    write_conllu([part], tmp_path / "part.conllu")
    assert read_conllu(tmp_path / "part.conllu", trees=False) == [part]
    with pytest.raises(CorpusError, match="has no HEAD"):
        read_conllu(tmp_path / "part.conllu")


def opened(each: Sentence, known: list[bool]) -> Sentence:
    """The sentence without the heads of some of its words."""
    heads = [head if known[k] else UNKNOWN for k, head in enumerate(each.heads)]
    return each.with_tree(heads, [deprel if known[k] else "_" for k, deprel in enumerate(each.deprels)])


def trees_in_part(made) -> tuple[list[Sentence], torch.Tensor]:
    """The sentences without every second head or so, and which words have one, of all sentences."""
    random = np.random.default_rng(1)
    known = [(random.random(len(each)) < 0.5).tolist() for each in SENTENCES]
    known[0][0] = True
    parts = [opened(each, mask) for each, mask in zip(SENTENCES, known, strict=True)]
    return parts, torch.tensor([flag for flags in known for flag in flags])


def word_losses(made) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Of whole trees: log-probabilities of a word's heads, for each word; its head; the loss of its label."""
    words = made.subwords.batch(made.subwords.encode([each.forms for each in SENTENCES]))
    states = made(words)
    heads = torch.tensor([head for each in SENTENCES for head in each.heads])
    labels = torch.tensor([made.labels.index(deprel) for each in SENTENCES for deprel in each.deprels])
    relations = -made.head.label_scores(states, heads).log_softmax(-1)[torch.arange(heads.numel()), labels]
    sizes = [len(each) + 1 for each in SENTENCES for _ in each.forms]
    rows = [row[:size].log_softmax(0) for row, size in zip(states.arcs[states.inside], sizes, strict=True)]
    return rows, heads, relations


def test_the_loss_of_trees_in_part_is_that_of_the_words_with_a_head():
    made = random_parser(SENTENCES)
    parts, mask = trees_in_part(made)
    task, whole = ParsingTask(made, parts, parts, partial=True), ParsingTask(made, SENTENCES, SENTENCES)
    batch = np.arange(len(SENTENCES))
    rows, heads, relations = word_losses(made)
    arcs = torch.stack([-row[head] for row, head in zip(rows, heads, strict=True)])
    torch.testing.assert_close(task.loss(batch), (arcs + relations)[mask].mean(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(whole.loss(batch), (arcs + relations).mean(), rtol=1e-5, atol=1e-5)
    assert math.isfinite(task.score()["las"])


def test_the_loss_in_doubt_is_that_of_every_head_which_may_be_the_right_one():
    made = random_parser(SENTENCES)
    parts, mask = trees_in_part(made)
    doubt = HeadDoubt(beside=0.8, other=0.1)
    rows, heads, relations = word_losses(made)
    flat = [(each, word) for each in parts for word in range(len(each))]
    losses, beliefs = [], []
    for (each, word), row, head, known in zip(flat, rows, heads.tolist(), mask.tolist(), strict=True):
        if known:
            weights = [doubt.other] * (len(each) + 1)
            for place, other in enumerate(each.heads, 1):
                if other == UNKNOWN and (abs(place - word - 1) == 1 or (head and abs(place - head) == 1)):
                    weights[place] = doubt.beside
            weights[head] = 1.0
            allowed = (torch.tensor(weights) * row.exp()).sum()
            losses.append(-allowed.log())
            beliefs.append((row[head].exp() / allowed).detach())
    belief = torch.stack(beliefs)
    expected = torch.stack(losses).mean() + (belief * relations[mask]).sum() / belief.sum()
    found = ParsingTask(made, parts, parts, partial=True, doubt=doubt).loss(np.arange(len(SENTENCES)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    parameters = [made.head.arc_weight, made.head.label_weight, made.encoder.get_input_embeddings().weight]
    for one, other in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def loss_of(scores: list[list[float]], heads: list[int], doubt: HeadDoubt) -> float:
    """Loss of the heads of one sentence with these scores of heads for each word; the only label costs nothing."""
    n = len(heads)
    head = BiaffineHead(4, 1, 1, ParserSettings(arc_size=2, label_size=2))
    arcs = torch.tensor([scores], dtype=torch.float32)
    arcs[:, torch.arange(n), torch.arange(1, n + 1)] = -torch.inf
    states = WordStates(
        arcs, torch.zeros(n, 2), torch.zeros(1 + n, 2), torch.ones(1, n, dtype=torch.bool), torch.tensor([0]),
        torch.zeros(n, dtype=torch.int64),
    )  # fmt: skip
    given = torch.tensor(heads)
    return head.loss(states, given, given.clamp(max=0), doubt).item()


def test_a_headless_word_beside_may_be_the_head():
    # "died in 1991 year": links say in <- 1991 <- died, and nothing of "year", the head of both
    doubt = HeadDoubt(beside=1.0, other=0.1)
    heads = [0, 3, 1, UNKNOWN]
    sure = 50.0
    right = [[sure, 0, 0, 0, 0], [0, 0, 0, 0, sure], [0, 0, 0, 0, sure], [0, sure, 0, 0, 0]]
    assert loss_of(right, heads, doubt) == pytest.approx(0, abs=1e-6)
    # "year" is beside neither "died" nor the root
    assert loss_of([[0, 0, 0, 0, sure], *right[1:]], heads, doubt) == pytest.approx(-math.log(0.1) / 3, rel=1e-5)
    # a word that has a head itself is any other word
    assert loss_of(right, [0, 3, 1, 1], doubt) == pytest.approx(-2 * math.log(0.1) / 4, rel=1e-5)
    assert loss_of([[0.0, 0.0]], [0], doubt) == pytest.approx(0, abs=1e-6)


def test_without_doubt_the_loss_is_the_plain_one():
    made = random_parser(SENTENCES)
    parts, _ = trees_in_part(made)
    batch = np.arange(len(SENTENCES))
    plain = ParsingTask(made, parts, parts, partial=True).loss(batch)
    torch.testing.assert_close(
        ParsingTask(made, parts, parts, partial=True, doubt=HeadDoubt(0.0, 0.0)).loss(batch), plain
    )


def test_words_without_a_head_are_not_scored():
    gold = sentence(["a", "b", "c"], [2, 0, 2], ["det", "root", "obj"])
    part = opened(gold, [True, False, True])
    parse = Parse((2, 3, 0), ("det", "obj", "root"))
    counts = count_attachments([part], [parse], partial=True)
    assert (counts.n_words, counts.uas, counts.las) == (2, 0.5, 0.5)
    with pytest.raises(CorpusError, match="without a head"):
        count_attachments([part], [parse])
    with pytest.raises(CorpusError, match="whole trees"):
        ParsingTask(random_parser(SENTENCES), SENTENCES, [part])
