"""Makes the lexicons of src/lingraft/data/lexicons out of bitexts and dictionaries.

    python tools/make_lexicons.py LAB [--out FOLDER] [--languages fr,hi] [--kilobytes 600]

LAB holds ``parallel/en-XX.tsv.zst`` (English, tab, foreign), perhaps ``parallel/bible.en-XX.tsv.zst``, and
``dictionaries/en-XX.tsv`` or ``.tsv.zst`` (a word list). Nothing is random: the same files make the same lexicons.

1. Both sides are taken into lower-cased words, numbers and single marks; Chinese into characters.
2. `lingraft.align`'s aligner, with the dictionary as prior, gives the expected number of links of every two words.
3. Vietnamese syllables and Chinese characters that stand together and are linked to one English word are counted as one
   entry too, where that happens at least twice.
4. Words get back the case in which they occur most inside of sentences.
5. Entries of the dictionary whose foreign word the bitext does not have are added with a small count.
6. What is kept is what has most count x p(English | foreign), as much as fits into the size.

The files have words and rounded counts; probabilities follow from the counts (`builtin.with_probabilities`).
"""

from __future__ import annotations

import argparse
import lzma
import math
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import regex

from lingraft.corpus import read_lines
from lingraft.evidence.alignment import BitextAligner, Lexicon, Links, read_lexicon
from lingraft.evidence.alignment.settings import FOR_TABLES
from lingraft.evidence.alignment.text import encode_pairs

LANGUAGES = ("ar", "fr", "hi", "ru", "vi", "zh")

#: words with joiners inside; of an elision the part up to the apostrophe; English 's and contractions; numbers; marks
_WORD = regex.compile(
    r"\p{Han}|(?:(?!\p{Han})[\p{L}\p{M}\u200c\u200d])+(?:'(?:t|re|ve|ll|m|d)\b|'(?=\p{L})(?!s\b))?|'s\b|\p{N}+|[^\s\p{L}\p{M}\p{N}]"
)
_SENTENCE_END = frozenset('.!?:。！？：।؟"«“-—*')
#: links with at least this product of posteriors make a phrase
_PHRASE_LINK = 0.2
_LONGEST_PHRASE = 4
_LEAST_PHRASE = 2
#: what an entry counts that only the dictionary has, at most; as all counts it is rounded to two binary digits
_DICTIONARY_COUNT = 0.5
#: an entry makes at least this share of its foreign word
_LEAST_SHARE = 0.02

#: words of letters, with spaces, hyphens and apostrophes between them
_PLAIN = regex.compile(r"\p{L}[\p{L}\p{M}\u200c\u200d' -]*")
#: characters of an entry's side at most: with more it is a slip of a text without spaces
_LONGEST = 40

Entries = dict[tuple[str, str], float]


def plain(words: str) -> bool:
    """Whether this can be a side of an entry."""
    return len(words) <= _LONGEST and _PLAIN.fullmatch(words) is not None


def say(line: str) -> None:
    """Prints now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def tokens(line: str) -> list[str]:
    """Words, numbers and marks."""
    return _WORD.findall(unicodedata.normalize("NFC", line).replace("’", "'"))


class Cases:
    """In which case words occur: the most frequent form, counted inside of sentences where they occur there."""

    def __init__(self) -> None:
        self._inside: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._first: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, words: list[str]) -> list[str]:
        """Counts the words of a line and returns them in lower case."""
        first = True
        lowered = []
        for word in words:
            low = word.lower()
            lowered.append(low)
            if word in _SENTENCE_END:
                first = True
            elif word[0].isalpha():
                (self._first if first else self._inside)[low][word] += 1
                first = False
        return lowered

    def usual(self, low: str) -> str:
        """The usual form of a word in lower case, of several words joined by spaces too."""
        if " " in low:
            return " ".join(map(self.usual, low.split(" ")))
        forms = self._inside.get(low) or self._first.get(low)
        # ties by the form, lower case last
        return max(forms.items(), key=lambda form: (form[1], form[0]))[0] if forms else low


def bitext(lab: Path, language: str) -> Iterator[tuple[str, str]]:
    """All sentence pairs of a language."""
    for name in (f"en-{language}.tsv.zst", f"bible.en-{language}.tsv.zst"):
        path = lab / "parallel" / name
        if path.is_file():
            for line in read_lines(path):
                english, foreign = line.split("\t")
                yield english, foreign


def dictionary(lab: Path, language: str) -> Lexicon:
    """The word list of a language."""
    names = (f"en-{language}.tsv", f"en-{language}.tsv.zst")
    return read_lexicon(next(lab / "dictionaries" / name for name in names if (lab / "dictionaries" / name).is_file()))


def phrases(
    blocks: Iterable[tuple[Links, ...]], lines: list[list[str]], english: list[list[str]], space: str
) -> Entries:
    """How often neighbouring units are linked to one English word, as (English, phrase)."""
    found: Counter[tuple[str, str]] = Counter()
    number = 0
    for (links,) in blocks:
        for k in range(len(links)):
            units, words = lines[number], english[number]
            number += 1
            begin, end = links.pair_offsets[k], links.pair_offsets[k + 1]
            # sorted by English word, then by position
            run: list[int] = []
            word = -1
            linked = zip(links.english[begin:end].tolist(), links.foreign[begin:end].tolist(), strict=True)
            for i, j in [*linked, (-2, 0)]:
                if run and (i != word or j != run[-1] + 1 or not units[j][0].isalpha()):
                    if 2 <= len(run) <= _LONGEST_PHRASE:
                        found[words[word], space.join(units[at] for at in run)] += 1
                    run = []
                word = i
                if i >= 0 and units[j][0].isalpha():
                    run.append(j)
    return {entry: float(count) for entry, count in found.items() if count >= _LEAST_PHRASE and all(map(plain, entry))}


def learn(lab: Path, language: str) -> Entries:
    """Expected links of every entry, words in their usual case, and the entries of the dictionary."""
    cases = Cases(), Cases()
    english, foreign = [], []
    for one, other in bitext(lab, language):
        english.append(cases[0].add(tokens(one)))
        foreign.append(cases[1].add(tokens(other)))
    word_list = dictionary(lab, language)
    encoded = encode_pairs(zip(english, foreign, strict=True), lowercase=False)
    with BitextAligner(encoded, FOR_TABLES, lexicon=word_list, lowercase=True) as aligner:
        learned = aligner.lexicon(min_count=0.02, min_probability=_LEAST_SHARE)
        entries: Entries = {
            (one, other): count
            for one, other, count, p in zip(
                learned.english, learned.foreign, learned.count.tolist(), learned.english_given_foreign.tolist(),
                strict=True,
            )
            if p >= _LEAST_SHARE and plain(one) and plain(other)
        }  # fmt: skip
        if language in ("vi", "zh"):
            space = " " if language == "vi" else ""
            entries |= phrases(aligner.links(("posterior", _PHRASE_LINK)), foreign, english, space)
    add_dictionary(entries, word_list, Counter(word for line in english for word in line))
    cased: Entries = defaultdict(float)
    for (one, other), count in entries.items():
        cased[cases[0].usual(one), cases[1].usual(other)] += count
    return cased


def add_dictionary(entries: Entries, word_list: Lexicon, english: Counter[str]) -> None:
    """Entries whose foreign word is new, by how frequent the English word is among those of its translations."""
    known = {word for _, word in entries}
    new: defaultdict[str, Counter[str]] = defaultdict(Counter)
    sides = [[word.lower().replace("’", "'") for word in side] for side in (word_list.english, word_list.foreign)]
    senses = Counter(sides[0])
    for one, other in zip(*sides, strict=True):
        words = tokens(one)
        usable = plain(one) and plain(other) and one.isascii() and max(len(words), len(other.split(" "))) <= 3
        if usable and other not in known:
            new[other][one] = max(new[other][one], min(english[word] for word in words) / senses[one])
    for other, candidates in new.items():
        total = candidates.total()
        for one, worth in candidates.items():
            if worth:
                # the more frequent the English word, the likelier the entry is met
                entries[one, other] = _DICTIONARY_COUNT * worth / total * min(1.0, math.log2(1 + worth) / 8)


def rounded(count: float) -> float:
    """To the nearest, by ratio, of 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12 ..."""
    power = 2.0 ** max(1, math.floor(math.log2(max(count, 2))))
    steps = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0) if count < 2 else (power, 1.5 * power, 2 * power)
    return min(steps, key=lambda step: abs(math.log(max(count, 0.01) / step)))


def packed(kept: list[tuple[str, str, float]]) -> bytes:
    """The compressed file: sorted by the foreign word, the more frequent entries of a word first."""
    lines = sorted(kept, key=lambda entry: (entry[1], -entry[2], entry[0]))
    text = "".join(f"{one}\t{other}\t\t\t{count:g}\n" for one, other, count in lines)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]
    return lzma.compress(text.encode(), filters=filters)


def pruned(entries: Entries, size: int) -> bytes:
    """The file of the best entries, not larger than so many bytes."""
    of_word: defaultdict[str, float] = defaultdict(float)
    for (_, other), count in entries.items():
        of_word[other] += count
    ranked = sorted(entries.items(), key=lambda entry: (-entry[1] * entry[1] / of_word[entry[0][1]], entry[0]))
    rows = [(*words, rounded(count)) for words, count in ranked]
    low, high, content = 0, len(rows), packed(rows)
    if len(content) <= size:
        return content
    guess = int(len(rows) * size / len(content))
    while high - low > len(rows) // 500 + 1:
        trial = packed(rows[:guess])
        if len(trial) <= size:
            low, content = guess, trial
        else:
            high = guess
        # sizes are nearly proportional, so few trials are needed
        guess = min(max(int(guess * size / len(trial)), low + 1), high - 1)
    return content if len(content) <= size else packed(rows[:low])


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lab", type=Path)
    parser.add_argument("--out", type=Path, default=Path("src/lingraft/data/lexicons"))
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--kilobytes", type=int, default=600, help="the most that a file may have, 1,000 bytes each")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for language in arguments.languages.split(","):
        entries = learn(arguments.lab, language)
        content = pruned(entries, 1000 * arguments.kilobytes)
        path = arguments.out / f"en-{language}.tsv.xz"
        path.write_bytes(content)
        kept = read_lexicon(path)
        say(
            f"en-{language}: {len(entries):,} entries, {len(kept):,} kept, of {len(set(kept.foreign)):,} foreign and "
            f"{len(set(kept.english)):,} English words; {len(content):,} bytes"
        )


if __name__ == "__main__":
    main()
