"""Projected trees get the shape that the language's treebanks have, and stay trees."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from trees import random_tree

import tiny
from lingraft.tasks.parsing import Parse
from lingraft.tasks.parsing.conventions import _CONVENTIONS, Conventions, conventions_of, word_set
from lingraft.tasks.parsing.projection import linked_pairs, project
from lingraft.tasks.parsing.reshaping import believed
from lingraft.tasks.parsing.treebank import UNKNOWN


def projected(language: str, english: str, heads: str, deprels: str, foreign: str, links: dict[int, int]):
    parse = Parse(tuple(map(int, heads.split())), tuple(deprels.split()))
    return project(parse, english.split(), links, foreign.split(), conventions_of(language))


USED = ("he used it in 1991", "2 0 2 5 2", "nsubj root obj case obl")


def test_a_year_goes_under_the_word_for_year():
    words = "он это использовал в 1991 году"
    links = {0: 0, 1: 2, 2: 1, 3: 3, 4: 4}
    assert projected("xx", *USED, words, links) == (
        [3, 3, 0, 5, 3, UNKNOWN],
        ["nsubj", "obj", "root", "case", "obl", "_"],
    )
    assert projected("ru", *USED, words, links) == ([3, 3, 0, 6, 6, 3], ["nsubj", "obj", "root", "case", "amod", "obl"])
    arabic = projected("ar-EG", *USED, "استخدمه في عام 1991", {1: 0, 3: 1, 4: 3})
    assert arabic == ([0, 3, 1, 3], ["root", "case", "obl", "nmod"])


def test_a_number_that_counts_stays_what_it_is():
    later = ("3 years later", "2 3 0", "nummod obl root")
    assert projected("ru", *later, "3 года спустя", {0: 0, 1: 1, 2: 2}) == ([2, 3, 0], ["nummod", "obl", "root"])
    seasons = ("3 seasons", "2 0", "nummod root")
    assert projected("ru", *seasons, "3 года", {0: 0}) == ([UNKNOWN, UNKNOWN], ["_", "_"])


def test_a_light_verb_takes_the_clause_and_leaves_the_nouns_own_words():
    used = ("it was used by him", "3 3 0 5 3", "nsubj aux root case obl")
    words = "यह उपयोग किया गया उसके द्वारा"  # it use did was of-him by
    expected = [3, 3, 0, 3, 3, 5], ["nsubj", "compound", "root", "aux", "obl", "case"]
    assert projected("hi", *used, words, {0: 0, 2: 1, 1: 3, 3: 5, 4: 4}) == expected
    # linked to the auxiliary: that link is not believed
    again = projected("hi", *used, words, {0: 0, 2: 1, 1: 2, 3: 5, 4: 4})
    assert again == ([3, 3, 0, UNKNOWN, 3, 5], ["nsubj", "compound", "root", "_", "obl", "case"])
    # what belongs to a noun stays with it; a verb with a counterpart of its own is that verb
    good = ("good work", "2 0", "amod root")
    assert projected("hi", *good, "अच्छा काम किया", {0: 0, 1: 1})[0] == [2, 3, 0]
    done = ("good work did", "2 3 0", "amod obj root")
    assert projected("hi", *done, "अच्छा काम किया", {0: 0, 1: 1, 2: 2})[1] == ["amod", "obj", "root"]


def test_a_negation_stands_between_noun_and_light_verb():
    used = ("not used", "2 0", "advmod root")
    found = projected("hi", *used, "उपयोग नहीं किया", {0: 1, 1: 0})
    assert found == ([3, 3, 0], ["compound", "advmod", "root"])


def test_what_looks_like_a_postposition_and_is_a_verb():
    sought = ("he sought", "2 0", "nsubj root")
    assert projected("hi", *sought, "उसने खोज की", {0: 0, 1: 1})[0] == [2, 0, UNKNOWN]
    assert projected("hi", *sought, "उसने खोज की ।", {0: 0, 1: 1})[0] == [2, 0, UNKNOWN, 2]
    assert projected("hi", *sought, "उसने खोज की बात", {0: 0, 1: 1})[0] == [2, 0, 2, UNKNOWN]


def test_a_postposition_hangs_on_the_word_before_it_whatever_its_link_says():
    gave = ("Ram gave the book to him", "2 0 4 2 6 2", "nsubj root det obj case obl")
    words = "राम ने उस को किताब दी"  # Ram ERG him to book gave
    found = projected("hi", *gave, words, {0: 0, 1: 5, 2: 1, 3: 4, 4: 3, 5: 2})
    assert found == ([6, 1, 6, 3, 6, 0], ["nsubj", "case", "obl", "case", "obj", "root"])
    # of several words the first one is the head, and the others stay under it
    him = ("for him", "2 0", "case root")
    assert projected("hi", *him, "राम के लिए", {0: 2, 1: 0}) == ([0, 1, 2], ["root", "case", "fixed"])


def test_a_preposition_hangs_on_the_word_behind_it_unless_a_determiner_is_there():
    house = ("in this house", "3 3 0", "case det root")
    assert projected("ar", *house, "في هذا البيت", {0: 0, 1: 1, 2: 2}) == ([3, 3, 0], ["case", "det", "root"])
    assert projected("ar", *house, "في البيت", {2: 1}) == ([2, 0], ["case", "root"])
    assert projected("ar", *house, "البيت في", {2: 0}) == ([0, UNKNOWN], ["root", "_"])
    assert projected("ar", *house, "البيت في .", {2: 0}) == ([0, UNKNOWN, 1], ["root", "_", "punct"])


def test_chinese_de_is_case_or_mark_by_the_word_before_it():
    red = ("red flag", "2 0", "amod root")
    assert projected("zh", *red, "红 的 旗", {0: 0, 1: 2}) == ([3, 1, 0], ["amod", "mark", "root"])
    king = ("king 's flag", "3 1 0", "nmod:poss case root")
    assert projected("zh", *king, "王 的 旗", {0: 0, 1: 1, 2: 2}) == ([3, 1, 0], ["nmod:poss", "case", "root"])
    assert projected("zh", *king, "王 的 旗", {2: 2}) == ([UNKNOWN, UNKNOWN, 0], ["_", "_", "root"])
    assert projected("zh", *king, "王 了 旗", {2: 2}) == ([UNKNOWN, 1, 0], ["_", "aux", "root"])


def test_chinese_modifiers_are_nouns_but_before_a_particle_and_parts_of_a_word_before_a_suffix():
    economic = ("economic growth", "2 0", "amod root")
    assert projected("zh", *economic, "经济 增长", {0: 0, 1: 1}) == ([2, 0], ["nmod", "root"])
    assert projected("zh", *economic, "红 的 旗子", {0: 0, 1: 2})[1] == ["amod", "mark", "root"]
    television = ("television set", "2 0", "compound root")
    assert projected("zh", *television, "电视 机", {0: 0, 1: 1}) == ([2, 0], ["compound", "root"])
    assert projected("zh", *television, "电视 大 机", {0: 0, 1: 2})[1][0] == "nmod"


def test_modal_verbs_are_the_heads_of_their_verbs():
    could = ("but he could never go home", "5 5 5 5 0 5", "cc nsubj aux advmod root advmod")
    links = {0: 0, 1: 1, 2: 3, 3: 2, 4: 4, 5: 5}
    words = "но он никогда мог уйти домой"
    assert projected("xx", *could, words, links)[0] == [5, 5, 5, 5, 0, 5]
    expected = [4, 4, 4, 0, 4, 5], ["cc", "nsubj", "advmod", "root", "xcomp", "advmod"]
    assert projected("ru", *could, words, links) == expected
    # another verb beside the first one is beside it still
    sing = ("he can go and sing", "3 3 0 5 3", "nsubj aux root cc conj")
    found = projected("ru", *sing, "он может пойти и спеть", {k: k for k in range(5)})
    assert found == ([2, 0, 2, 5, 3], ["nsubj", "root", "xcomp", "cc", "conj"])
    would = ("he would go", "3 3 0", "nsubj aux root")
    assert projected("fr", *would, "il voudrait aller", {0: 0, 1: 1, 2: 2})[0] == [3, 3, 0]


def test_possessives_and_nouns_before_nouns():
    house = ("their summer house", "3 3 0", "nmod:poss compound root")
    links = {0: 0, 1: 1, 2: 2}
    assert projected("ru", *house, "их летний дом", links)[1] == ["det", "amod", "root"]
    assert projected("de", *house, "ihr Sommer haus", links)[1] == ["nmod:poss", "compound", "root"]
    assert projected("fr", *house, "leur maison été", {0: 0, 1: 2, 2: 1})[1] == ["det", "root", "nmod"]
    tom = ("Tom 's house", "3 1 0", "nmod:poss case root")
    assert projected("ru", *tom, "Томов дом", {0: 0, 2: 1})[1] == ["nmod:poss", "root"]
    assert projected("ru", *tom, "дом Тома", {0: 1, 2: 0})[1] == ["root", "nmod:poss"]


def test_words_that_conventions_settle_count_among_those_with_a_head():
    # a cipher whose words are all followed by a postposition: half of them have no counterpart
    lines = tiny.english_lines(300, longest=9)
    pairs = [(line, " ".join(f"{word} में" for word in tiny.cipher(line).split())) for line in lines]
    assert len(linked_pairs(pairs, "hi", 0.7).pairs) > 100
    assert len(linked_pairs(pairs, "xx", 0.7).pairs) < 10


def test_function_words_of_another_kind():
    said = ("he did not say", "4 4 4 0", "nsubj aux advmod root")
    links = {0: 0, 1: 1, 2: 3, 3: 2}
    assert projected("fr", *said, "il ne dit pas", links)[1] == ["nsubj", "advmod", "root", "advmod"]
    assert projected("xx", *said, "il ne dit pas", links)[1] == ["nsubj", "aux", "root", "advmod"]
    # a counterpart that is no function word decides
    him = ("he saw himself", "2 0 2", "nsubj root obj")
    assert projected("fr", *him, "il se vit", {0: 0, 1: 2, 2: 1})[1] == ["nsubj", "obj", "root"]


def test_verbs_that_are_put_for_a_copula_are_heads():
    element = ("it is an element", "4 4 4 0", "nsubj cop det root")
    links = {0: 0, 1: 1, 3: 2}
    assert projected("ru", *element, "это является элементом", links) == ([2, 0, 2], ["nsubj", "root", "xcomp"])
    assert projected("xx", *element, "это является элементом", links)[0] == [3, 3, 0]
    zone = ("it is in the zone", "5 5 5 5 0", "nsubj cop case det root")
    found = projected("ru", *zone, "это находится в зоне", {0: 0, 1: 1, 2: 2, 4: 3})
    assert found == ([2, 0, 4, 2], ["nsubj", "root", "case", "obl"])
    # with the words before it
    later = ("later he will be president", "5 5 5 5 0", "advmod nsubj aux cop root")
    words = "позже он будет являться президентом"
    assert projected("ru", *later, words, {k: k for k in range(5)})[0] == [4, 4, 4, 0, 4]
    # under a modal verb, in whatever order the links come
    may = ("it may be an element", "5 5 5 5 0", "nsubj aux cop det root")
    for links in ({0: 0, 1: 1, 2: 2, 4: 3}, {2: 2, 0: 0, 4: 3, 1: 1}):
        assert projected("ru", *may, "это может являться элементом", links)[0] == [2, 0, 2, 3]


def test_what_stands_behind_a_preposition_is_a_noun():
    perform = ("used to perform tasks", "0 3 1 3", "root mark advcl obj")
    words, links = "использован для выполнения задач", {0: 0, 1: 1, 2: 2, 3: 3}
    assert projected("ru", *perform, words, links) == ([0, 3, 1, 3], ["root", "case", "obl", "nmod"])
    assert projected("xx", *perform, words, links)[1] == ["root", "mark", "advcl", "obj"]
    # a subject in English; not if the word is linked to what is no function word
    had = ("he in had", "3 1 0", "nsubj case root")
    assert projected("ru", *had, "у него было", {0: 1, 1: 0, 2: 2}) == ([2, 3, 0], ["case", "obl", "root"])
    verb = ("seek he had", "2 3 0", "acl nsubj root")
    assert projected("ru", *verb, "у него было", {0: 0, 1: 1, 2: 2})[1] == ["acl", "nsubj", "root"]


def test_a_predicate_behind_a_preposition_keeps_its_clause():
    zone = ("he is in zone", "4 4 4 0", "nsubj cop case root")
    assert projected("ru", *zone, "он в зоне", {0: 0, 2: 1, 3: 2}) == ([3, 3, 0], ["nsubj", "case", "root"])
    paris = ("said he was in Paris", "0 5 5 5 1", "root nsubj cop case ccomp")
    expected = [0, 5, 5, 5, 1], ["root", "nsubj", "cop", "case", "ccomp"]
    assert projected("ru", *paris, "сказал он был в Париже", {k: k for k in range(5)}) == expected


def test_a_root_behind_a_preposition_keeps_its_subject():
    absent = ("he vacations", "2 0", "nsubj root")
    assert projected("ar", *absent, "هو في إجازة", {0: 0, 1: 2}) == ([3, 3, 0], ["nsubj", "case", "root"])


def test_a_preposition_before_a_subordinator_begins_a_clause():
    left = ("slept after he left", "0 4 4 1", "root mark nsubj advcl")
    words = "спала после того как он ушёл"
    found = projected("ru", *left, words, {0: 0, 1: 1, 2: 4, 3: 5})
    assert found == ([0, 6, UNKNOWN, UNKNOWN, 6, 1], ["root", "mark", "_", "_", "nsubj", "advcl"])
    arabic = projected("ar", *left, "نامت بعد أن الرجل غادر", {0: 0, 1: 1, 2: 3, 3: 4})
    assert arabic[1] == ["root", "mark", "_", "nsubj", "advcl"]
    that = ("said that he left", "0 4 4 1", "root mark nsubj ccomp")
    assert projected("ar", *that, "قالت من أن الرجل غادر", {0: 0, 1: 2, 2: 3, 3: 4})[0] == [0, UNKNOWN, 5, 5, 1]


def test_an_arabic_adjective_has_an_article_if_its_noun_has_one():
    war = ("World War", "2 0", "compound root")
    assert projected("ar", *war, "الحرب العالمية", {0: 1, 1: 0}) == ([0, 1], ["root", "amod"])
    assert projected("ar", *war, "حرب العالم", {0: 1, 1: 0}) == ([0, 1], ["root", "nmod"])
    north = ("northern coast", "2 0", "amod root")
    assert projected("ar", *north, "ساحل الشمال", {0: 1, 1: 0})[1] == ["root", "nmod"]
    assert projected("ar", *north, "ساحل شمالي", {0: 1, 1: 0})[1] == ["root", "amod"]


def test_expressions_hang_on_their_first_word():
    indeed = ("he came indeed", "2 0 2", "nsubj root advmod")
    assert projected("fr", *indeed, "il vint en effet", {0: 0, 1: 1, 2: 3}) == (
        [2, 0, 2, 3],
        ["nsubj", "root", "advmod", "fixed"],
    )
    # the longest one; nothing is known of its head
    more = projected("fr", *indeed, "il vint de plus en plus", {0: 0, 1: 1})
    assert more == ([2, 0, UNKNOWN, 3, 3, 3], ["nsubj", "root", "_", "fixed", "fixed", "fixed"])
    # what hangs on one of its words comes with it; a head inside is none
    fact = ("he came in great effect", "2 0 5 5 2", "nsubj root case amod obl")
    found = projected("fr", *fact, "il vint en effet grand", {0: 0, 1: 1, 2: 2, 4: 3, 3: 4})
    assert found == ([2, 0, 2, 3, 3], ["nsubj", "root", "advmod", "fixed", "amod"])
    assert projected("fr", "indeed", "0", "root", "en effet", {0: 1}) == ([0, 1], ["root", "fixed"])
    # no circle
    about = ("because left who", "3 1 0", "mark acl root")
    assert projected("fr", *about, "parce que vint", {0: 0, 1: 2, 2: 1}) == (
        [0, 1, 1],
        ["root", "fixed", "acl"],
    )


def test_a_chinese_word_of_place_before_a_noun_is_left_as_it_is():
    week = ("he leaves next week", "2 0 4 2", "nsubj root amod obl")
    found = projected("zh", *week, "他 下 周 离开", {0: 0, 1: 3, 2: 1, 3: 2})
    assert found[0] == [4, 3, 4, 0]
    house = ("in house", "2 0", "case root")
    assert projected("zh", *house, "房子 里 。", {1: 0}) == ([0, 1, 1], ["root", "case", "punct"])


def test_prepositions_of_two_words():
    during = ("during war", "2 0", "case root")
    assert projected("ru", *during, "в течение войны", {0: 1, 1: 2}) == ([3, 1, 0], ["case", "fixed", "root"])
    assert projected("ar", *during, "من خلال حرب", {0: 1, 1: 2}) == ([3, 1, 0], ["case", "fixed", "root"])


def test_links_that_cannot_be_right_are_not_believed():
    english, hindi = ["The", "used", ","], ["उपयोग", "किया", "और"]
    links = [(0, 2), (1, 0), (1, 1), (2, 2)]  # a comma is no word
    assert believed(english, hindi, links, conventions_of("hi")) == [(1, 0)]
    assert believed(english, hindi, links, Conventions()) == [(0, 2), (1, 0), (1, 1)]
    assert believed([",", "1"], ["।", "1"], [(0, 0), (1, 1)], conventions_of("hi")) == [(0, 0), (1, 1)]


def test_relations_that_the_parser_does_not_know_are_not_made():
    hindi = conventions_of("hi").restricted_to(["root", "compound"])
    assert ([rule.relation for rule in hindi.inserted], hindi.attached, hindi.behind) == (["compound"], (), {})
    chinese = conventions_of("zh").restricted_to(["case", "aux"])
    assert [rule.relation for rule in chinese.attached] == ["aux", "case"]
    assert (chinese.suffixed, chinese.before) == ("", {})
    russian = conventions_of("ru").restricted_to(["root", "xcomp"])
    assert (russian.before, russian.modal, russian.possessive) == ({}, "xcomp", "")
    assert (russian.copulas["является"], "составляет" in russian.copulas) == ("xcomp", False)
    assert (russian.prepositions, russian.punctuation, russian.article) == (frozenset(), "", "")
    for language in ("ar", "ru"):
        everything = word_set("amod nmod obl case mark punct xcomp obj det advmod aux nummod fixed")
        assert conventions_of(language).restricted_to(everything) == conventions_of(language)


@given(st.sampled_from(sorted(_CONVENTIONS)), st.integers(2, 12), st.integers(0, 10_000))
def test_whatever_the_conventions_trees_stay_trees(language, n, seed):
    random = np.random.default_rng(seed)
    conventions = conventions_of(language)
    rules = (*conventions.inserted, *conventions.attached)
    listed = {*conventions.function_words, *conventions.copulas, *conventions.prepositions}
    listed = sorted(listed.union(*(rule.forms for rule in rules), *conventions.expressions, conventions.subordinators))
    words = [str(random.choice([*listed, "1991", "word", "."])) for _ in range(n)]
    english = [str(random.choice(["can", "their", "the", "word", "."])) for _ in range(n)]
    heads = random_tree(n, random)
    relations = ["obl", "nummod", "case", "amod", "aux", "nmod:poss", "compound", "fixed", "cop", "advcl"]
    deprels = [str(random.choice(relations)) if head else "root" for head in heads]
    places = random.permutation(n)[: random.integers(1, n + 1)]
    links = {int(i): int(place) for i, place in zip(random.permutation(n), places, strict=False)}
    found, given_ = project(Parse(tuple(heads), tuple(deprels)), english, links, words, conventions)
    assert [head == UNKNOWN for head in found] == [deprel == "_" for deprel in given_]
    assert found.count(0) <= 1
    assert all(given_[place] == "root" for place in range(n) if found[place] == 0)
    for place, head in enumerate(found):  # marks are leaves
        assert words[place] != "." or (head != 0 and place + 1 not in found)
    for start in range(n):  # no circle: a chain of heads ends at the root or at what is not known
        seen, word = set(), start
        while found[word] > 0:
            assert word not in seen
            seen.add(word)
            word = found[word] - 1
