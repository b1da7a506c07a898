"""The order in which a run is looked at, for each language and for all."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..corpus import clean
from ..errors import CorpusError
from ..evidence import encode
from ..inputs import Bitext, Dictionary, Text, Vectors, recipe_of
from ..recipe import Given, Recipe
from ..run import OnProgress
from ..settling import absolute, check_inputs, settle_training, with_evidence
from ..surgery import LanguageModel, load_model
from ..transfer import check_output
from . import coverage, language, parallel
from .cost import LanguageCost, estimate, probed
from .duplicates import duplicate_findings
from .encoding import ERROR as DAMAGED
from .encoding import encoding_findings
from .findings import Diagnosis, Estimates, Finding, percent, sorted_findings
from .sampling import Sample, sample_pairs, sample_text
from .scripts import script_findings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: lines that language, script and encoding are looked at in
_LINES = 4000


def doctor(
    model: str | Path | LanguageModel | SentenceTransformer | tuple[PreTrainedModel, PreTrainedTokenizerBase],
    *,
    to: str | Sequence[str],
    out: str | Path | None = None,
    bitext: Bitext | Mapping[str, Bitext] = (),
    lexicon: Dictionary | Mapping[str, Dictionary] = (),
    vectors: Vectors | Mapping[str, Vectors] | None = None,
    text: Text | Mapping[str, Text] = (),
    source_text: Text = (),
    eval_bitext: Bitext | Mapping[str, Bitext] | None = None,
    tokenizer: str | Path | Mapping[str, str | Path] | None = None,
    vocab_size: int | None = None,
    objective: str = "auto",
    steps: int | None = None,
    tokens: int | None = None,
    budget: str | None = None,
    track: Sequence[str] = (),
    allow_pickle: bool = False,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    probe: bool = True,
    on_progress: OnProgress | None = None,
) -> Diagnosis:
    """Looks at what `lingraft.transfer` would be given: what is wrong or weak, how long it will take, in what memory.

    The arguments are those of `lingraft.transfer`. out: where the run is to go, if that is to be checked too. probe:
    whether to time some steps of the training, for ``estimates``; where the run would be worthless anyway that is left
    out. Nothing is written but temporary files. Long texts are sampled, at even distances and always in the same
    places; what was read is in ``sampled``.

    Raises InputError for whatever a transfer would refuse.
    """
    with tempfile.TemporaryDirectory(prefix="lingraft-doctor-") as folder:
        recipe = recipe_of(
            Path(folder),
            {
                "model": model, "to": to, "bitext": bitext, "lexicon": lexicon, "vectors": vectors, "text": text,
                "source_text": source_text, "eval_bitext": eval_bitext, "tokenizer": tokenizer,
                "vocab_size": vocab_size, "objective": objective, "steps": steps, "tokens": tokens, "budget": budget,
                "track": track, "allow_pickle": allow_pickle, "seed": seed, "settings": settings,
            },
        )  # fmt: skip
        return examine(recipe, Path(out) if out is not None else None, on_progress, probe=probe)


def examine(
    recipe: Recipe, out: Path | None = None, on_progress: OnProgress | None = None, *, probe: bool = True
) -> Diagnosis:
    """The same of a recipe; see `doctor`.

    out, probe: as there. on_progress: called with the name of what is looked at, the share that is done (0 to 1) and a
    note for people.
    """
    began = time.perf_counter()
    report = on_progress or (lambda *_: None)
    recipe = with_evidence(absolute(recipe))
    check_inputs(recipe)
    if out is not None:
        check_output(out, recipe)
    source = load_model(recipe.source, allow_pickle=recipe.allow_pickle)
    training, note = settle_training(recipe, source)
    recipe = recipe.model_copy(update={"training": training})
    examined: dict[str, _Examined] = {}
    for number, tag in enumerate(recipe.languages):

        def tell(share: float, what: str, number: int = number, tag: str = tag) -> None:
            report("text", (number + share) / len(recipe.languages), f"{tag}: {what}" if recipe.several else what)

        examined[tag] = _Language(recipe, tag, source, tell).examined()
    report("text", 1.0, f"{len(recipe.languages)} languages" if recipe.several else "")
    found = [finding for one in examined.values() for finding in one.findings]
    sampled = {name: told for one in examined.values() for name, told in one.sampled.items()}
    statistics = {tag: one.statistics for tag, one in examined.items()}
    english = _shared_english(recipe, examined, found, statistics, sampled)
    if note:
        found.append(Finding("no-training", "info", note, "Give sentence pairs if the model is to be trained."))
    estimates: Estimates | None = None
    costs = {tag: one.cost for tag, one in examined.items() if one.cost is not None}
    worthless = any(finding.severity == "error" for finding in found)
    if probe and not worthless and len(costs) == len(examined):
        report("probe", 0.0, "")
        estimates, more = estimate(source, recipe, costs, english)
        found += more + _disk(estimates, out)
        report("probe", 1.0, probed(estimates))
    seconds = round(time.perf_counter() - began, 2)
    return Diagnosis(sorted_findings(found), estimates, statistics, sampled, seconds)


def _shared_english(
    recipe: Recipe, examined: Mapping[str, _Examined], found: list[Finding], statistics: dict[str, dict[str, float]],
    sampled: dict[str, dict[str, Any]],
) -> list[str]:  # fmt: skip
    """A sample of the run's English text, looked at where it is given."""
    names = recipe.corpus.source_text
    if not names:
        return [english for one in examined.values() for english in one.english]
    text = sample_text(names)
    sampled["source text"] = text.as_dict()
    told: dict[str, float] = {}
    found += language.english_findings(language.identify(text.some(_LINES), "en"), text.shown, None, told)
    found += encoding_findings(text.some(_LINES), None, text.shown, told)
    found += duplicate_findings(text, "lines", None, told)
    statistics["en"] = told
    return [line for line in map(clean, text.lines) if line]


def _disk(estimates: Estimates, out: Path | None) -> list[Finding]:
    """Whether there is room for the run."""
    if out is None:
        return []
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free > estimates.disk_bytes:
        return []
    return [
        Finding(
            "disk", "error", f"the run needs about {estimates.disk_bytes / 1e9:.1f} GB in '{out}', and "
            f"{free / 1e9:.1f} GB are free there", "Make room, or give an --out on another disk.",
            numbers={"needed": estimates.disk_bytes, "free": free},
        )
    ]  # fmt: skip


@dataclass
class _Examined:
    """What was found of a language. english: a sample of its bitext's English side. cost: None if nothing can run."""

    findings: list[Finding] = field(default_factory=list)
    statistics: dict[str, float] = field(default_factory=dict)
    sampled: dict[str, dict[str, Any]] = field(default_factory=dict)
    english: list[str] = field(default_factory=list)
    cost: LanguageCost | None = None


class _Language:
    """One new language of a run under examination."""

    def __init__(self, recipe: Recipe, tag: str, source: LanguageModel, tell: Any) -> None:
        self._recipe, self._tag, self._source, self._tell = recipe, tag, source, tell
        self._given: Given = recipe.given(tag)
        self._made = _Examined()
        self._held_out = 0

    def examined(self) -> _Examined:
        """Reads and looks at everything that belongs to the language."""
        given, made = self._given, self._made
        self._tell(0.0, "reading")
        pairs = sample_pairs(given.bitext) if given.bitext else None
        text = sample_text(given.text) if given.text else None
        for name, sample in (("bitext", pairs), ("text", text)):
            if sample is not None:
                made.sampled[f"{self._tag}: {name}" if self._recipe.several else name] = sample.as_dict()
        readable = True
        if text is not None:
            self._tell(0.2, "text")
            readable &= self._foreign(text.some(_LINES), text.shown)
            made.findings += duplicate_findings(text, "lines", self._tag, made.statistics)
        if pairs is not None:
            self._tell(0.3, "bitext")
            readable &= self._bitext(pairs)
        if given.eval_bitext:
            self._evaluation(given.eval_bitext)
        self._vocabulary(text, pairs, readable)
        return made

    def _foreign(self, lines: list[str], where: str, seen: language.Identified | None = None) -> bool:
        """Looks at raw lines of the new language; whether they are worth to look at any closer."""
        made, statistics = self._made, self._made.statistics
        made.findings += encoding_findings(lines, self._tag, where, statistics)
        if max(statistics["mojibake"], statistics["replacement_characters"]) >= DAMAGED:
            return False
        seen = seen or language.identify(lines, self._tag)
        found = language.language_findings(seen, self._tag, where, statistics)
        made.findings += found
        if not any(finding.severity == "error" for finding in found):
            made.findings += script_findings(lines, self._tag, where, statistics)
        return True

    def _bitext(self, pairs: Sample[tuple[str, str]]) -> bool:
        """Looks at the sides of a bitext; whether they are worth to look at any closer."""
        made = self._made
        some = [pair for pair in pairs.some(_LINES) if all(side.strip() for side in pair)]
        english, foreign = [pair[0] for pair in some], [pair[1] for pair in some]
        made.findings += duplicate_findings(pairs, "pairs", self._tag, made.statistics)
        first, second = language.identify(english, "en"), language.identify(foreign, self._tag)
        if self._swapped(first, second, pairs.shown):
            return False
        readable = self._foreign(foreign, pairs.shown, second)
        made.findings += language.english_findings(first, pairs.shown, self._tag, made.statistics)
        told: dict[str, float] = {}
        made.findings += encoding_findings(english, self._tag, f"{pairs.shown}, English side", told)
        made.statistics["mojibake_english"] = told["mojibake"]
        return readable

    def _swapped(self, first: language.Identified, second: language.Identified, where: str) -> bool:
        """Whether the sides of a bitext stand the other way round."""
        if language.base_language(self._tag) == "en":
            return False
        if not (first.enough and second.enough and second.english >= 0.5 and first.english < 0.5):
            return False
        made = self._made
        numbers = {"first_side_english": first.english, "second_side_english": second.english, "threshold": 0.5}
        made.statistics |= {"english_side": first.english, "english": second.english}
        made.findings.append(
            Finding(
                "swapped-sides", "error",
                f"the sides of the bitext are swapped: English is second ({percent(second.english)} of it is "
                f"English, of the first side {percent(first.english)})",
                "English comes first. Of two files give EN_FILE,XX_FILE; of a TSV swap the columns: "
                "awk -F'\\t' -v OFS='\\t' '{print $2, $1}' FILE > SWAPPED.",
                self._tag, where, numbers,
            )
        )  # fmt: skip
        return True

    def _evaluation(self, name: str) -> None:
        """Looks at the pairs that are to be held out."""
        made = self._made
        held_out = sample_pairs([name])
        self._held_out = held_out.filled
        made.sampled[f"{self._tag}: eval-bitext" if self._recipe.several else "eval-bitext"] = held_out.as_dict()
        some = [pair for pair in held_out.some(_LINES) if all(side.strip() for side in pair)]
        first = language.identify([pair[0] for pair in some], "en")
        second = language.identify([pair[1] for pair in some], self._tag)
        told: dict[str, float] = {}
        if not self._swapped(first, second, held_out.shown):
            made.findings += language.language_findings(second, self._tag, held_out.shown, told)
            made.findings += language.english_findings(first, held_out.shown, self._tag, told)

    def _vocabulary(self, text: Sample[str] | None, pairs: Sample[tuple[str, str]] | None, readable: bool) -> None:
        """Makes the vocabulary of the sample, and looks at what needs one: the alignment, the evidence, the cost."""
        given, made, recipe = self._given, self._made, self._recipe
        self._tell(0.4, "vocabulary")
        material = coverage.material_of(given, self._tag, text, pairs)
        whole = all(sample is None or (sample.whole and len(sample.lines) == sample.read) for sample in (text, pairs))
        try:
            vocabulary = coverage.make_vocabulary(given, recipe.vocabulary, self._source, material, whole)
        except CorpusError as error:
            made.findings.append(
                Finding(
                    "vocabulary-too-large", "error", str(error).rstrip("."),
                    "Give more text, or leave --vocab-size out: then it is what the text supports.", self._tag,
                )
            )  # fmt: skip
            return
        source = self._source.tokenizer
        if pairs is not None:
            cleaned = [(clean(english), clean(foreign)) for english, foreign in pairs.lines]
            made.english = [english for english, _ in cleaned if english]
            if readable:
                self._tell(0.6, "alignment")
                made.findings += parallel.parallel_findings(
                    cleaned, pairs.blocks, source, vocabulary.tokenizer, self._tag, pairs.shown, made.statistics
                )
        self._tell(0.8, "evidence")
        began = time.perf_counter()
        scale = None
        if pairs is not None and pairs.total is not None:
            scale = pairs.total / max(1, len(pairs.lines))
        made.findings += coverage.coverage_findings(
            given, self._tag, self._source, vocabulary, material, recipe.evidence.min_count, scale, made.statistics
        )
        spent = time.perf_counter() - began
        made.cost = self._cost(text, pairs, material, vocabulary, spent)

    def _cost(
        self, text: Sample[str] | None, pairs: Sample[tuple[str, str]] | None, material: coverage.Material,
        vocabulary: coverage.Vocabulary, evidence_seconds: float,
    ) -> LanguageCost:  # fmt: skip
        """What the stages before the graft will take of the whole text."""
        samples: list[Sample[Any]] = [sample for sample in (text, pairs) if sample is not None]
        scales = [sample.scale for sample in samples]
        kept = [sample.read / max(1, len(sample.lines)) for sample in samples]
        unknown = any(scale is None for scale in scales)
        # a run reads and cleans the text, writes it and reads it again
        reading = None if unknown else sum(2 * s.seconds * (s.scale or 1.0) for s in samples)
        # of more than 256 MB a vocabulary is trained on a sample
        largest = max([(scale or 1.0) * share for scale, share in zip(scales, kept, strict=True)], default=1.0)
        training = None if unknown else vocabulary.seconds * min(largest, 16.0)
        cost = LanguageCost(vocabulary.tokenizer, [], [clean(line) for line in material.text[:_LINES]])
        seconds: dict[str, float | None] = {"corpus": reading, "vocabulary": training, "table": evidence_seconds}
        if pairs is not None:
            cost.pairs = [pair for pair in ((clean(a), clean(b)) for a, b in pairs.some(_LINES)) if all(pair)]
            tokens = sum(
                encode(tokenizer, [pair[side] for pair in cost.pairs]).ids.size
                for side, tokenizer in enumerate((self._source.tokenizer, vocabulary.tokenizer))
            )
            share = (pairs.total or pairs.read) / max(1, len(cost.pairs))
            cost.bitext_bytes = pairs.read_bytes * (pairs.scale or 1.0)
            cost.bitext_tokens = tokens * share
            aligning = self._made.statistics.get("seconds_aligning")
            if aligning is not None:
                judged = min(len(cost.pairs), int(self._made.statistics["pairs_judged"]))
                seconds["table"] = evidence_seconds + aligning * share * len(cost.pairs) / max(1, judged)
        if material.text:
            some = material.text[:_LINES]
            of_text = text if text is not None else pairs
            lines = (of_text.total or of_text.read) if of_text is not None else len(material.text)
            cost.text_tokens = encode(vocabulary.tokenizer, list(some)).ids.size * lines / len(some)
        cost.evaluation_pairs = self._held_out
        cost.seconds = seconds
        return cost
