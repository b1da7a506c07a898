"""Words that English leaves out are put where treebanks have them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from trees import random_tree

from lingraft.tasks.parsing import Parse
from lingraft.tasks.parsing.conventions import INSERTED, Conventions, conventions_of, told_apart
from lingraft.tasks.parsing.projection import project
from lingraft.tasks.parsing.treebank import UNKNOWN

#: he used it in 1991
ENGLISH = Parse((2, 0, 2, 5, 2), ("nsubj", "root", "obj", "case", "obl"))


def test_a_year_goes_under_the_word_for_year():
    # he it used in 1991 year
    words = "он его использовал в 1991 году".split()
    links = {0: 0, 1: 2, 2: 1, 3: 3, 4: 4}
    plain = project(ENGLISH, links, words, Conventions())
    assert plain == ([3, 3, 0, 5, 3, UNKNOWN], ["nsubj", "obj", "root", "case", "obl", "_"])
    found = project(ENGLISH, links, words, conventions_of("ru"))
    assert found == ([3, 3, 0, 6, 6, 3], ["nsubj", "obj", "root", "case", "amod", "obl"])
    # before it
    arabic = project(ENGLISH, {1: 0, 3: 1, 4: 3}, "استخدمه في عام 1991".split(), conventions_of("ar-EG"))
    assert arabic == ([0, 3, 1, 3], ["root", "case", "obl", "nmod"])


def test_a_number_that_counts_stays_what_it_is():
    # three years later: the word for year has a counterpart, and the number is no date
    parse = Parse((2, 3, 0), ("nummod", "obl", "root"))
    found = project(parse, {0: 0, 1: 1, 2: 2}, "3 года спустя".split(), conventions_of("ru"))
    assert found == ([2, 3, 0], ["nummod", "obl", "root"])
    parse = Parse((2, 0), ("nummod", "root"))  # 3 seasons
    assert project(parse, {0: 0}, "3 года".split(), conventions_of("ru")) == ([UNKNOWN, UNKNOWN], ["_", "_"])


def test_a_light_verb_takes_the_clause_and_leaves_the_nouns_own_words():
    # he-ERG book-of use did was: the passive's auxiliary stays linked, the light verb is linked to nothing
    parse = Parse((3, 3, 0, 5, 3), ("nsubj", "aux", "root", "case", "obl"))  # it was used by him
    words = "यह उपयोग किया गया उसके द्वारा".split()
    found = project(parse, {0: 0, 2: 1, 1: 3, 3: 5, 4: 4}, words, conventions_of("hi"))
    assert found == ([3, 3, 0, 3, 3, 5], ["nsubj", "compound", "root", "aux", "obl", "case"])
    # linked to the auxiliary: that link is not believed
    again = project(parse, {0: 0, 2: 1, 1: 2, 3: 5, 4: 4}, words, conventions_of("hi"))
    assert again == ([3, 3, 0, UNKNOWN, 3, 5], ["nsubj", "compound", "root", "_", "obl", "case"])
    # an adjective of the noun stays with the noun, and a verb with a counterpart of its own is that verb
    parse = Parse((2, 3, 0), ("amod", "obj", "root"))  # good work did
    words = "अच्छा काम किया".split()
    assert project(parse, {0: 0, 1: 1, 2: 2}, words, conventions_of("hi"))[0] == [2, 3, 0]
    parse = Parse((2, 0), ("amod", "root"))
    assert project(parse, {0: 0, 1: 1}, words, conventions_of("hi"))[0] == [2, 3, 0]


def test_the_first_word_of_a_postposition_of_several_is_its_head():
    parse = Parse((2, 0), ("case", "root"))  # for him
    found = project(parse, {0: 2, 1: 0}, "राम के लिए".split(), conventions_of("hi"))
    assert found == ([0, 1, 2], ["root", "case", "fixed"])


def test_inserted_words_leave_a_shared_counterpart_to_their_companion():
    english, hindi = ["used", ","], ["उपयोग", "किया", "और"]
    links = [(0, 0), (0, 1), (1, 2)]
    assert told_apart(english, hindi, links, conventions_of("hi")) == [(0, 0)]  # a comma is no word
    assert told_apart(english, hindi, links, conventions_of("xx")) == [(0, 0), (0, 1)]
    assert told_apart([",", "1"], ["।", "1"], [(0, 0), (1, 1)], conventions_of("hi")) == [(0, 0), (1, 1)]


def test_relations_that_the_parser_does_not_know_are_not_made():
    assert conventions_of("hi", ["root", "compound"]).turned == {}
    assert [rule.relation for rule in conventions_of("hi", ["root", "compound"]).inserted] == ["compound"]
    assert conventions_of("hi", ["nmod", "fixed"]).turned == {"compound": "nmod"}


@given(st.sampled_from(sorted(INSERTED)), st.integers(2, 12), st.integers(0, 10_000))
def test_whatever_is_inserted_trees_stay_trees(language, n, seed):
    random = np.random.default_rng(seed)
    listed = sorted(form for rule in INSERTED[language] for form in rule.forms)
    words = [str(random.choice([*listed, "1991", "word"])) for _ in range(n)]
    heads = random_tree(n, random)
    relations = [str(random.choice(["obl", "nummod", "case", "amod"])) if head else "root" for head in heads]
    places = random.permutation(n)[: random.integers(1, n + 1)]
    links = {int(english): int(foreign) for english, foreign in zip(random.permutation(n), places, strict=False)}
    found, deprels = project(Parse(tuple(heads), tuple(relations)), links, words, conventions_of(language))
    assert [head == UNKNOWN for head in found] == [deprel == "_" for deprel in deprels]
    assert found.count(0) <= 1
    for word in range(n):  # no circle: a chain of heads ends at the root or at what is not known
        seen: set[int] = set()
        while word >= 0 and found[word] > 0:
            assert word not in seen
            seen.add(word)
            word = found[word] - 1
