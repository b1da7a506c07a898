"""From sentence pairs to links: the aligner as one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath

import numpy as np

from ...corpus.sequences import TokenSequences
from ...errors import RecipeError
from .block import Csr
from .compiled import Array
from .em import Progress, Training
from .lexicon import Lexicon, lexicon_from_counts, prior_counts, read_lexicon, unused_entries
from .model import AlignmentModel
from .settings import AlignerSettings
from .symmetrize import Links, check_choice, joined, project, symmetrize
from .text import EncodedBitext, encode_pairs, read_tokenised

#: product of posteriors from which on a link is taken; chosen on one language pair (docs/results.md)
THRESHOLD = 0.2
#: product of posteriors from which on a link is told where all likely links are asked for
SOFT_THRESHOLD = 0.01
#: expected links that an entirely certain entry of a lexicon is worth
LEXICON_STRENGTH = 1.0

Sentence = str | Sequence[str]


class BitextAligner:
    """The aligner, trained on a bitext when made, which then hands out links block by block; a context manager.

    settings, lowercase, characters, threads, on_progress: as for `align`. bitext: encoded by `read_tokenised` or
    `encode_pairs`, with the vocabularies of ``model`` if there is one. The other arguments are those of `align`.
    too_long: how many pairs were left unaligned for their length. unused_entries: how many entries of the lexicon are
    of no use, see `lexicon.unused_entries`.
    """

    def __init__(
        self,
        bitext: EncodedBitext,
        settings: AlignerSettings | None = None,
        *,
        model: AlignmentModel | None = None,
        lexicon: Lexicon | None = None,
        lowercase: bool = True,
        characters: bool = False,
        threads: int | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self._settings = settings or (model.settings if model else AlignerSettings())
        self._bitext, self.too_long = _without_long(bitext, self._settings.max_tokens)
        self._prepared = lowercase, characters
        prior, self.unused_entries = None, 0
        if lexicon is not None:
            # a lexicon is written as people write; the text may have been lower-cased
            spelled = _lowered(lexicon) if lowercase else lexicon
            english, foreign = (
                {word: k for k, word in enumerate(words.words())}
                for words in (bitext.english_words, bitext.foreign_words)
            )
            prior = Csr(*prior_counts(spelled, english, foreign, LEXICON_STRENGTH, characters))
            self.unused_entries = unused_entries(spelled, characters)
        self._training = Training(
            self._bitext.english, self._bitext.foreign, len(bitext.english_words), len(bitext.foreign_words),
            self._settings, model.parameters if model else None, prior, threads, on_progress,
        )  # fmt: skip

    def __enter__(self) -> BitextAligner:
        return self

    def __exit__(self, *_: object) -> None:
        self._training.__exit__()

    @property
    def log_likelihood(self) -> list[tuple[float, float]]:
        """Per iteration, in nats a token of pairs with two sides: foreign given English, English given foreign."""
        return self._training.log_likelihood

    def links(self, *ways: tuple[str, float]) -> Iterator[tuple[Links, ...]]:
        """Links between tokens, block after block in the order of the text; one set for each way to symmetrize.

        ways: (method, threshold) as `symmetrize` takes them; by default that of posteriors of at least `THRESHOLD`.
        """
        english_words, foreign_words = self._bitext.english_word_of_unit, self._bitext.foreign_word_of_unit
        workers = self._training.workers
        e_done, f_done = 0, 0
        for pairs, posteriors in self._training.posteriors():
            offsets = pairs.english_offsets, pairs.foreign_offsets
            found = (symmetrize(posteriors, *offsets, *way, workers) for way in ways or (("posterior", THRESHOLD),))
            if english_words is not None and foreign_words is not None:
                english = english_words[e_done : e_done + pairs.english.size]
                foreign = foreign_words[f_done : f_done + pairs.foreign.size]
                found = (project(links, english, foreign, *offsets, workers) for links in found)
            yield tuple(found)
            e_done, f_done = e_done + pairs.english.size, f_done + pairs.foreign.size

    def model(self) -> AlignmentModel:
        """What was learned, with the words; of a given model, what it knew and what this bitext added."""
        return AlignmentModel(
            self._bitext.english_words, self._bitext.foreign_words, self._training.learned(), self._settings,
            *self._prepared,
        )  # fmt: skip

    def lexicon(self, min_count: float = 0.5, min_probability: float = 0.01) -> Lexicon:
        """Word translation probabilities from the expected links; see `lexicon_from_counts`.

        min_count, min_probability: what an entry needs at least.
        """
        counts = self._training.expected_links()
        english, foreign = self._bitext.english_words.words(), self._bitext.foreign_words.words()
        return lexicon_from_counts(*counts, english, foreign, min_count, min_probability)


@dataclass(frozen=True)
class Alignment:
    """The links of a bitext.

    links: those taken, ``links[k]`` for pair k a list of (English position, foreign position), with their posteriors in
    ``links.posterior``. likely: all with a posterior of at least 0.01. model: to save, or to align more text with.
    too_long: how many pairs were left unaligned for their length. log_likelihood: per iteration, in nats a token of the
    pairs that were aligned, foreign given English and English given foreign. unused_entries: how many entries of the
    lexicon were not used, because they have several words on a side or several characters on both.
    """

    links: Links
    likely: Links
    model: AlignmentModel
    too_long: int
    log_likelihood: list[tuple[float, float]]
    unused_entries: int = 0


def align(
    pairs: str | PathLike[str] | Iterable[tuple[Sentence, Sentence]],
    *,
    symmetrize: str = "posterior",
    threshold: float = THRESHOLD,
    settings: AlignerSettings | None = None,
    model: AlignmentModel | str | PathLike[str] | None = None,
    lexicon: Lexicon | str | PathLike[str] | None = None,
    lowercase: bool = True,
    characters: bool = False,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Alignment:
    """Aligns the words of sentence pairs.

    pairs: (English, foreign) sentences, strings of tokens with white space between them or lists of tokens; or the name
    of a TSV or EN_FILE,XX_FILE with one pair a line. symmetrize: "posterior" takes the links whose product of both
    directions' posteriors is at least ``threshold``; or one of intersection, union, grow-diag, grow-diag-final,
    grow-diag-final-and. model: trained before (an object or its file); what it knows is added to what these pairs say,
    and its ``lowercase`` and ``characters`` hold. lexicon: word translations (an object or a TSV) to start from.
    lowercase: compare words in lower case. characters: take words of scripts written without spaces apart into
    characters, those of the lexicon too; links are between the words all the same. threads: by default one for each
    core; the result does not depend on it. on_progress: called with the share done, from 0 to 1, and a few words.

    Raises CorpusError for sentences or files that cannot be used, RecipeError for an impossible setting, InputError for
    a file that is no model.
    """
    check_choice(symmetrize, threshold, "symmetrization", "The threshold")
    if threads is not None and threads < 1:
        raise RecipeError(f"{threads} threads cannot work; give 1 or more, or none for one on each core.")
    if isinstance(model, (str, PathLike)):
        model = AlignmentModel.load(model)
    if isinstance(lexicon, (str, PathLike)):
        lexicon = read_lexicon(lexicon)
    if model:
        lowercase, characters = model.lowercase, model.characters
    known = (model.english_words, model.foreign_words) if model else None
    if isinstance(pairs, (str, PathLike)):
        bitext = read_tokenised(fspath(pairs), lowercase=lowercase, characters=characters, extend=known)
    else:
        bitext = encode_pairs(pairs, lowercase=lowercase, characters=characters, extend=known)
    with BitextAligner(
        bitext, settings, model=model, lexicon=lexicon, lowercase=lowercase, characters=characters, threads=threads,
        on_progress=on_progress,
    ) as aligner:  # fmt: skip
        links, likely = zip(*aligner.links((symmetrize, threshold), ("posterior", SOFT_THRESHOLD)), strict=True)
        return Alignment(
            joined(links), joined(likely), aligner.model(), aligner.too_long, aligner.log_likelihood,
            aligner.unused_entries,
        )  # fmt: skip


def _lowered(lexicon: Lexicon) -> Lexicon:
    english, foreign = ([word.lower() for word in words] for words in (lexicon.english, lexicon.foreign))
    return replace(lexicon, english=english, foreign=foreign)


def _without_long(bitext: EncodedBitext, most: int) -> tuple[EncodedBitext, int]:
    """The bitext with both sides of every pair that is too long made empty, and how many there were."""
    short = (bitext.english.lengths <= most) & (bitext.foreign.lengths <= most)
    if short.all():
        return bitext, 0

    def emptied(sequences: TokenSequences, word_of_unit: Array | None) -> tuple[TokenSequences, Array | None]:
        kept = np.repeat(short, sequences.lengths)
        offsets = np.concatenate([[0], np.cumsum(sequences.lengths * short)])
        return TokenSequences(sequences.ids[kept], offsets), None if word_of_unit is None else word_of_unit[kept]

    english, english_words = emptied(bitext.english, bitext.english_word_of_unit)
    foreign, foreign_words = emptied(bitext.foreign, bitext.foreign_word_of_unit)
    shortened = replace(
        bitext, english=english, foreign=foreign, english_word_of_unit=english_words, foreign_word_of_unit=foreign_words
    )
    return shortened, int((~short).sum())
