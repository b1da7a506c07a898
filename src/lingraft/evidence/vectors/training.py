"""Word vectors of a text, for those who have text and no vectors; and vectors of tokens by the fastText library."""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from tokenizers import Tokenizer, models

from ...corpus.scripts import MARK_RANGES, is_spaceless
from ...errors import CorpusError, RecipeError, RunError
from ...vocabulary.unigram import learn_unigram
from .cooccurrence import count_vectors
from .files import WordVectors, load_fasttext, of_model

#: entries of the hash table of character n-grams; at 100 dimensions 80 MB
_BUCKETS = 200_000
#: sentences that are put in random order at a time
_SHUFFLED = 1 << 17
#: longest word, in characters, and words beyond the single characters, of a script without spaces
_LONGEST, _SPACELESS_WORDS = 4, 30_000
#: at what fastText cuts its input
_CUTS = re.compile("[\\s\0]", re.ASCII)


def train_vectors(
    lines: Iterable[str], *, dimension: int = 100, min_count: int = 5, lowercase: bool = False
) -> WordVectors:
    """Makes word vectors of running text by counting (`cooccurrence.count_vectors`), with counts.

    lines: of running text. dimension: of the vectors. min_count: words that occur less often get none.

    Text is cut by `words_of`. Runs of scripts written without spaces are cut into words of up to four characters, by a
    unigram language model that is learned on them first (Kudo 2018), where such scripts are more than a hundredth of
    the text. lowercase: for tokenizers that write lower case anyway. The same text gives the same vectors. The text
    waits in a temporary file; for the memory of the rest see `cooccurrence.count_vectors`.

    Raises CorpusError where not more than ``dimension`` words occur min_count times, RecipeError for impossible
    settings.
    """
    if min(dimension, min_count) < 1:
        raise RecipeError(
            f"word vectors of {dimension} dimensions, of words that occur {min_count} times: each must be at least 1."
        )
    with tempfile.TemporaryDirectory(prefix="lingraft-") as folder:
        text = Path(folder) / "words.txt"
        runs: Counter[str] = Counter()
        characters = 0
        with text.open("w", encoding="utf-8", errors="replace", newline="\n") as stream:
            for line in lines:
                sentence = words_of(line, lowercase)
                runs.update(word for word in sentence if is_spaceless(word[0]))
                characters += sum(map(len, sentence))
                stream.write(" ".join(sentence) + "\n")
        pieces: dict[str, list[str]] = {}
        if 100 * sum(len(run) * count for run, count in runs.items()) > characters:
            pieces = _segmented(runs)

        def sentences() -> Iterator[list[str]]:
            with text.open(encoding="utf-8", newline="\n") as stream:
                for line in stream:
                    yield [piece for word in line.split() for piece in pieces.get(word, [word])]

        return count_vectors(sentences, dimension, min_count)


def train_on_tokens(
    sentences: Iterable[Sequence[str]],
    *,
    dimension: int = 100,
    epochs: int = 5,
    min_count: int = 5,
    model: Literal["skipgram", "cbow"] = "skipgram",
    ngrams: tuple[int, int] = (3, 6),
    negatives: int = 5,
    seed: int = 0,
    threads: int = 1,
) -> WordVectors:
    """Trains vectors of tokens (words, or a tokenizer's tokens), by fastText (Bojanowski et al. 2017), with counts.

    sentences: tokens in their order. Tokens that hold white space, and ``</s>``, which is fastText's mark of a line's
    end, are left out. min_count: tokens that occur less often get no vector. ngrams: lengths of the character n-grams
    that a token's vector is the sum of besides its own, (0, 0) for none. negatives: how many other tokens a token is
    told apart from at a time. seed: order of the sentences, among 131,072 neighbouring ones. threads: with one the
    result is the same for the same input and seed; with more they write over each other's updates (Hogwild) and it is
    not. Other settings are fastText's. Memory: (tokens + 200,000) x dimension x 4 bytes, and as much again for the
    tokens; the text waits in a temporary file. dimension: of the vectors. epochs: passes over the sentences. model:
    whether a token predicts its neighbours (``skipgram``) or they predict it (``cbow``).

    Raises CorpusError where no token occurs often enough, RecipeError for impossible settings, RunError where training
    diverges, MissingExtraError without the fastText library.
    """
    if min(dimension, epochs, min_count, negatives, threads) < 1:
        raise RecipeError(
            f"word vectors of {dimension} dimensions, {epochs} epochs, words that occur {min_count} times, {negatives} "
            f"negatives, {threads} threads: each must be at least 1."
        )
    fasttext = load_fasttext("Training word vectors")
    shortest, longest = ngrams
    with tempfile.TemporaryDirectory(prefix="lingraft-") as folder:
        text = Path(folder) / "tokens.txt"
        _write(sentences, text, seed)
        try:
            trained = fasttext.train_unsupervised(
                str(text), model=model, dim=dimension, epoch=epochs, minCount=min_count, minn=shortest, maxn=longest,
                neg=negatives, bucket=_BUCKETS, thread=threads, verbose=0, label="\n",
            )  # fmt: skip
        except (RuntimeError, ValueError) as error:
            if "NaN" in str(error):
                raise RunError(f"Training word vectors diverged ({error}).") from None
            raise CorpusError(
                f"There is no text to train word vectors on: no word occurs {min_count} times or more."
            ) from None
    vectors = of_model(trained, None)
    if not len(vectors):
        raise CorpusError(f"There is no text to train word vectors on: no word occurs {min_count} times or more.")
    return vectors


def _write(sentences: Iterable[Sequence[str]], path: Path, seed: int) -> None:
    """One sentence a line, in the order of the seed."""
    random = np.random.default_rng(seed)
    lines = (" ".join(token for token in tokens if token not in ("", "</s>") and not _CUTS.search(token))
             for tokens in sentences)  # fmt: skip
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as stream:
        while some := list(islice(lines, _SHUFFLED)):
            stream.writelines(some[k] + "\n" for k in random.permutation(len(some)).tolist())


def words_of(line: str, lowercase: bool = False) -> list[str]:
    """The words, numbers and single marks of a line of text.

    A word is a run of letters, digits, underscores, combining marks and joiners, so vowel signs stay with their
    consonants; every other character that is no white space is a token. Where a script that is written without spaces
    begins or ends, so does a word. lowercase: by `str.lower`.
    """
    spaced = (line.lower() if lowercase else line).translate(_SPACED)
    if _EDGE in spaced:
        # a mark belongs to the character before; what is left of the edges is where a run begins or ends
        spaced = _MARKS.sub(rf"\1{_EDGE}", spaced).replace(2 * _EDGE, "").replace(_EDGE, " ")
    return spaced.split()


class _Spaced(dict[int, str]):
    """For `str.translate`: every character with what divides it from its neighbours, looked up once."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if is_spaceless(character):
            text = f"{_EDGE}{character}{_EDGE}"
        elif unicodedata.category(character)[0] in "LMN" or character in "_\u200c\u200d":
            text = character
        else:
            text = " " if character == _EDGE else f" {character} "
        self[code] = text
        return text


_EDGE = "\0"
_SPACED = _Spaced()
_MARKS = re.compile(f"{_EDGE}([{''.join(f'{chr(first)}-{chr(last)}' for first, last in MARK_RANGES)}]+)")


def _segmented(runs: Counter[str]) -> dict[str, list[str]]:
    """The words of every run, by a unigram model of the runs."""
    characters = set().union(*runs)
    vocabulary = learn_unigram(runs.elements(), len(characters) + _SPACELESS_WORDS, _LONGEST)
    segmenter = Tokenizer(models.Unigram([("<unk>", 0.0), *vocabulary.items()], 0))
    found = {}
    names = iter(runs)
    while some := list(islice(names, 10_000)):
        for run, encoding in zip(some, segmenter.encode_batch(some), strict=True):
            found[run] = [run[first:last] for first, last in encoding.offsets]
    return found
