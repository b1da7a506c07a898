"""Where trees of a language have another shape than English ones: what `reshaping.py` makes of projected trees.

Projection (`projection.py`) gives a word the head that its English counterpart has. A word without counterpart gets no
head and is nobody's, and what should hang on it hangs on the word beside. But some of what links cannot tell is known
beforehand, from the grammar of the language and from Universal Dependencies, and the words are of closed classes:

- Words that English leaves out (`Inserted`). "1991" is "the year 1991" in many languages; "to use" is "to make use" in
  Hindi, where the verb is the head and "use" its `compound`.
- Function words that English has none for, or that always stand next to their head (`Attached`), as postpositions do.
- Articles. A language without such a word has nothing to link "the" to, so that it is linked to anything.
- Modal verbs, which are auxiliaries in English and verbs with an `xcomp` in others.
- Nouns, told by a preposition before them, whose counterpart is a verb or a subject: "to perform" is "for performance".
- Possessive pronouns, which are `nmod` in English and determiners in others; nouns before nouns (`compound`), which are
  adjectives in Slavic languages and modifiers where they stand behind; function words of another kind than English has.

Languages that are not listed have only what holds for all: a `compound` that comes to stand behind its head is an
`nmod`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from .cutting import primary
from .punctuation import is_punctuation


def word_set(text: str) -> frozenset[str]:
    """Words that white space separates."""
    return frozenset(text.split())


#: English relations of function words, which are no predicates
FUNCTION = word_set("aux case cc cop det expl mark punct")
_OF_ADVERBS = word_set("advmod discourse")
#: relations of what belongs to a noun: these words stay with the noun of "make use"; all others are the verb's
_OF_NOUNS = word_set("acl amod appos case compound det fixed flat nmod nummod")


def expressions(relation: str, text: str) -> dict[tuple[str, ...], str]:
    """Expressions of one relation, of words that white space separates, with commas between them."""
    return {tuple(words.split()): relation for words in text.split(",")}


class Inserted(NamedTuple):
    """Words that English leaves out, which are the head of the word beside them.

    forms: the words, in small letters. before: whether they stand before that word, their companion; else behind it.
    companion: which words that may be: a ``number`` that counts nothing, as that of a year; a ``predicate``, which is
    any word whose counterpart is no function word or adverb; an ``adposition`` or subordinator.
    relation: of the companion, whose head and relation the inserted word takes. over: words that may stand between.
    but: words that are no companion.
    """

    forms: frozenset[str]
    before: bool
    companion: str
    relation: str
    over: frozenset[str] = frozenset()
    but: frozenset[str] = frozenset()

    def goes_with(self, form: str, deprel: str) -> bool:
        """Whether a word, whose English counterpart has this relation (without subtype), can be the companion."""
        if self.companion == "number":
            return form[0].isdigit() and deprel != "nummod"
        if self.companion == "adposition":
            return deprel in ("case", "mark")
        return deprel not in FUNCTION and deprel not in _OF_ADVERBS

    def companion_of(self, word: int, forms: Sequence[str]) -> int:
        """The place of the companion of an inserted word, inside the sentence or not. forms: in small letters."""
        step = 1 if self.before else -1
        place = word + step
        while 0 <= place < len(forms) and forms[place] in self.over:
            place += step
        return place

    def hands_over(self, deprel: str) -> bool:
        """Whether the inserted word takes a word of this relation from its companion."""
        return self.companion != "predicate" or deprel not in _OF_NOUNS


class Attached(NamedTuple):
    """Function words whose head is the word beside them, whatever they are linked to.

    forms: the words, in small letters. before: whether they stand before their head; else behind it. relation: theirs.
    of_clauses: theirs if the head's counterpart has a relation that verbs, adjectives and adverbs have; beside a head
    without counterpart the word is left as it is then. Empty: ``relation`` everywhere. but: neighbours that are not the
    head. not_before: if the next word is one of these, or there is none, the word may be a verb and is left as it is.
    """

    forms: frozenset[str]
    before: bool
    relation: str
    of_clauses: str = ""
    but: frozenset[str] = frozenset()
    not_before: frozenset[str] = frozenset()

    def head_of(self, word: int) -> int:
        """The place of the head, inside the sentence or not."""
        return word + 1 if self.before else word - 1


class Conventions(NamedTuple):
    """Of the trees of one language. Forms are in small letters; what is empty does not hold.

    inserted, attached: see there.
    unlinked: English words whose links are not believed.
    behind: what becomes of the relation of a word that English has before its head and that stands behind it: in "stone
        wall" the first noun is a compound, in "mur de pierre" a modifier.
    before: of a word that stands before its head, unless it is an adjective and one of the ``particles`` is next.
    suffixed: of such a word if its head is next and has one character.
    modal: the relation of a verb under its modal verb, where that is the head.
    copulas: verbs that are put for a copula and are heads, and the relation of their predicates.
    possessive: of a possessive pronoun before its noun, where that is another one than in English.
    function_words: the relation of words whose counterpart is a function word of another kind, or a modifier.
    expressions: function words of several words, of which the first is the head of the others, and its relation.
    prepositions: words that stand before nouns and hardly anything else, so that what they stand before is a noun
        whatever its counterpart is. subordinators: if one of these is next, a preposition begins a clause.
    article: a prefix that an adjective behind its noun has if and only if the noun has it.
    punctuation: the relation of marks, which get their heads without links (`punctuation.py`); else they get none.
    """

    inserted: tuple[Inserted, ...] = ()
    attached: tuple[Attached, ...] = ()
    unlinked: frozenset[str] = frozenset()
    behind: Mapping[str, str] = {"compound": "nmod"}
    before: Mapping[str, str] = {}
    particles: frozenset[str] = frozenset()
    suffixed: str = ""
    modal: str = ""
    copulas: Mapping[str, str] = {}
    possessive: str = ""
    function_words: Mapping[str, str] = {}
    expressions: Mapping[tuple[str, ...], str] = {}
    prepositions: frozenset[str] = frozenset()
    subordinators: frozenset[str] = frozenset()
    article: str = ""
    punctuation: str = "punct"

    def settles(self, form: str) -> bool:
        """Whether a word can get its head without a link."""
        if self.punctuation and is_punctuation(form):
            return True
        form = form.lower()
        return any(form in rule.forms for rule in self.inserted) or any(form in rule.forms for rule in self.attached)

    def restricted_to(self, labels: Collection[str]) -> Conventions:
        """Those of them that make none but the given relations."""

        known = frozenset(labels)

        def one(relation: str) -> str:
            return relation if relation in known else ""

        def only(changed: Mapping[str, str]) -> dict[str, str]:
            return {old: new for old, new in changed.items() if new in known}

        return self._replace(
            inserted=tuple(rule for rule in self.inserted if rule.relation in known),
            attached=tuple(
                rule for rule in self.attached if {rule.relation, rule.of_clauses or rule.relation} <= known
            ),
            behind=only(self.behind),
            before=only(self.before),
            suffixed=one(self.suffixed),
            copulas=only(self.copulas),
            modal=one(self.modal),
            possessive=one(self.possessive),
            function_words=only(self.function_words),
            expressions={words: its for words, its in self.expressions.items() if {its, "fixed"} <= known},
            prepositions=self.prepositions if {"case", "nmod", "obl"} <= known else frozenset(),
            article=self.article if {"amod", "nmod"} <= known else "",
            punctuation=one(self.punctuation),
        )


_ARTICLES = word_set("a an the")
#: forms of करना, "do", its causatives, and होना, "be", but for की, which is mostly a postposition
_HINDI_LIGHT_VERBS = word_set(
    "कर करना करने करनी करता करती करते करतीं करें करे करूं करूँ करूंगा करूँगा करेगा करेगी करेंगे करोगे करके करो कीजिए "
    "किया किये किए कीं कराना कराने कराता कराती कराते कराया कराई कराए करवाना करवाने करवाया करवाई "
    "हो होना होने होनी होता होती होते होतीं हुआ हुई हुईं हुए हुये होगा होगी होंगे होकर"
)
#: what comes behind की where it is a verb
_BEHIND_HINDI_VERB = word_set(
    "है हैं था थी थीं थे गई गयी गईं जा जाती जाए जाएगी जानी जाने गयीं हो होगी ताकि और . , ! ? ; : । \" ' ”"
)
_FRENCH_EXPRESSIONS = {
    **expressions("cc", "ainsi que"),
    **expressions(
        "case",
        "en tant que, en tant qu', à partir, face à, grâce à, en raison, quant à, suite à, à cause, à travers, "
        "le long, d' après, par rapport à, jusqu' à",
    ),
    **expressions(
        "mark",
        "alors que, alors qu', tandis que, tandis qu', parce que, parce qu', bien que, bien qu', afin que, afin qu', "
        "avant que, avant qu', dès que, dès qu', depuis que, depuis qu', tant que, tant qu'",
    ),
    **expressions(
        "advmod",
        "en effet, un peu, à la fois, de plus, de plus en plus, d' ailleurs, d' abord, en plus, en outre, "
        "en particulier, peu à peu, par ailleurs, à nouveau, de nouveau, par exemple",
    ),
}
#: Russian verbs that are put for "is" and "became", and are no auxiliaries
_RUSSIAN_COPULAS = word_set(
    "является являются являлся являлась являлось являлись являться являясь стал стала стало стали стать станет станут "
    "становится становятся оказался оказалась оказалось оказались остается остаётся остаются оставался оставалась "
    "оставались бывает бывают"
)
_ARABIC_SUBORDINATORS = word_set("أن أنّ ان إن ما لا")
#: an Arabic preposition has another head, further on, if a determiner, a subordinator or a negation is next
_ARABIC_BETWEEN = word_set("هذا هذه ذلك تلك هذان هذين هاتين هؤلاء أولئك أن أنّ ان ما لا كل جميع بعض أي")

#: By language. A year is counted in Russian (by an ordinal, an adjective) and in Chinese, and has its word before it in
#: Arabic and Vietnamese. Hindi and Vietnamese have a numeral where English has "a"; so has Chinese, where few of the
#: links of "a" are right.
_CONVENTIONS: Mapping[str, Conventions] = {
    "ar": Conventions(
        inserted=(
            Inserted(word_set("عام العام سنة السنة"), True, "number", "nmod"),
            # من قبل, من خلال: the first word is the head
            Inserted(word_set("من"), True, "adposition", "fixed", but=_ARABIC_SUBORDINATORS),
        ),
        attached=(
            Attached(word_set("ب ل في على إلى الى عن مع"), True, "case", but=_ARABIC_BETWEEN),
            Attached(word_set("لم لا لن"), True, "advmod"),
        ),
        unlinked=_ARTICLES,
        modal="xcomp",
        function_words={
            **dict.fromkeys(word_set("لم لا لن غير"), "advmod"),
            **dict.fromkeys(word_set("أن عندما حيث"), "mark"),
            **dict.fromkeys(word_set("كل بعض جميع عدة أي"), "det"),
        },
        # ل stands before verbs, too, as "to" does; before a noun it is much more frequent
        prepositions=word_set(
            "ب ل في على إلى الى عن مع من ك خلال بعد قبل بين منذ حول ضد دون عبر عند لدى تحت فوق أثناء"
        ),
        subordinators=_ARABIC_SUBORDINATORS,
        article="ال",
    ),
    # treebanks cut the contraction "des" in two ("de les"), so that "des" as one word is a determiner there; in a
    # bitext it is either
    "fr": Conventions(
        modal="xcomp",
        possessive="det",
        function_words={
            "ne": "advmod",
            "n'": "advmod",
            "n’": "advmod",
            "se": "expl",
            "s'": "expl",
            "s’": "expl",
            "des": "det",
        },
        expressions=_FRENCH_EXPRESSIONS
        | {tuple(word.replace("'", "’") for word in words): its for words, its in _FRENCH_EXPRESSIONS.items()},
    ),
    "hi": Conventions(
        inserted=(
            Inserted(_HINDI_LIGHT_VERBS, False, "predicate", "compound", over=word_set("नहीं न भी ही तो")),
            # के and की begin most postpositions of several words, whose first word is the head
            Inserted(word_set("के की"), True, "adposition", "fixed"),
        ),
        attached=(
            # but for what is a part of "के बारे में" and "के रूप में"
            Attached(word_set("ने को का के में से पर तक"), False, "case", but=word_set("बारे रूप")),
            Attached(word_set("की"), False, "case", not_before=_BEHIND_HINDI_VERB),
        ),
        unlinked=word_set("the"),
        function_words={"कई": "det", "कुछ": "det"},
    ),
    "ru": Conventions(
        inserted=(
            Inserted(word_set("год года году годом годе годы годов годам годами годах г гг"), False, "number", "amod"),
            # "в течение", "по сравнению": the first word is the head
            Inserted(word_set("в во с за по на"), True, "adposition", "fixed"),
        ),
        unlinked=_ARTICLES,
        before={"compound": "amod"},
        modal="xcomp",
        copulas={
            **dict.fromkeys(_RUSSIAN_COPULAS, "xcomp"),
            **dict.fromkeys(word_set("находится находятся находился находилась находилось находились"), "obl"),
            **dict.fromkeys(word_set("составляет составляют составлял составляла составляло составляли"), "obj"),
            **dict.fromkeys(word_set("представляет представляют представлял представляла представляли"), "obj"),
        },
        possessive="det",
        function_words={"не": "advmod", "бы": "aux", "несколько": "nummod", "некоторые": "det", "некоторых": "det"},
        prepositions=word_set(
            "в во на с со к ко по для от из у о об обо за до при без под подо над через после перед между около против "
            "среди ради кроме вместо вокруг благодаря согласно из-за из-под"
        ),
        subordinators=word_set("то того тому тем том что чтобы как"),
    ),
    "vi": Conventions(
        inserted=(Inserted(word_set("năm tháng ngày"), True, "number", "flat"),),
        attached=(Attached(word_set("các những mọi"), True, "det"),),
        unlinked=word_set("the"),
        behind={},
        # the numeral, and words for tenses, which are adverbs
        function_words={
            "một": "nummod",
            "đã": "advmod",
            "đang": "advmod",
            "sẽ": "advmod",
            "nhiều": "advmod",
            "nhưng": "mark",
        },
    ),
    "zh": Conventions(
        inserted=(Inserted(word_set("年 月 日"), False, "number", "nummod"),),
        attached=(
            Attached(word_set("了 着 著 过 過"), False, "aux"),
            Attached(word_set("的"), False, "case", of_clauses="mark"),
            Attached(
                word_set("中 里 裡 裏 内 內 上 下"), False, "case", not_before=word_set("个 個 周 週 月 次 院 半 一")
            ),
        ),
        unlinked=_ARTICLES,
        before={"compound": "nmod", "amod": "nmod"},
        particles=word_set("的"),
        # 电视 机, "television set"
        suffixed="compound",
        function_words={"一": "nummod", **dict.fromkeys(word_set("也 而 但 并 並 就 却 卻 则 則"), "mark")},
    ),
}


def conventions_of(language: str) -> Conventions:
    """The conventions of a language, by its tag."""
    return _CONVENTIONS.get(primary(language), Conventions())
