"""Which way to make the rows of a new vocabulary is best for this model, tokenizer and evidence: a short trial of each.

What a graft is worth shows after some training rather than before it: the loss right after the graft ranks methods
badly, and some fifty steps rank them well. So every method goes through the same probe: the same steps on the same
batches with the same masks, embeddings and body at the project's own learning rates, and bits per byte of held-out text
before and after it.

A sentence encoder without a language-modelling head gets one (`lingraft.surgery.with_masked_lm_head`), which is warmed
up once, alone, on English text. All methods start from that one model: the head is the same for all, and the number
before the probe means something.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from .corpus import Counts, HeldOut, TokenStream, check_text, clean_text, read_text, sample_lines
from .errors import CorpusError, ModelError, RecipeError
from .evidence import Provenance, encode
from .recipe import ONLY, TrainingRecipe, build_recipe, put
from .run import OnProgress
from .surgery import (
    LanguageModel,
    Method,
    check_method,
    check_positions,
    graft_with,
    load_model,
    load_tokenizer,
    with_masked_lm_head,
)
from .surgery.initialisers import Initialisation, inputs_of, possible_methods
from .surgery.initialisers.files import MAX_CHARS, InputFiles, read_pairs
from .surgery.initialisers.isolated import measured_initialisation
from .tasks import embed_sentences, evaluate_lm, retrieval_scores
from .training import (
    Progress,
    calibrate_output,
    check_objective,
    default_device,
    head_trainer,
    language_model_trainer,
    resolve_training,
    text_stream,
)

#: of longer text than this a probe sees a sample: UTF-8 bytes of a language
_TEXT_BYTES = 1 << 24

#: nothing is resumed, so one checkpoint at the beginning and one at the end will do
_ONCE: dict[str, Any] = {"checkpoint_seconds": 86_400.0, "checkpoints_kept": 1}

#: a probe trains embeddings and body from its first step on
_PROBE: dict[str, Any] = {"embeddings_share": 0.0, **_ONCE}

Names = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Probe:
    """One method under one seed.

    before, after: bits per byte of the held-out text, before and after the probe's steps. retrieval: shares of
    sentences of the held-out pairs that find their translation before the probe (`lingraft.tasks.retrieval_scores`), or
    None.
    """

    seed: int
    before: float
    after: float
    retrieval: dict[str, Any] | None


@dataclass(frozen=True)
class MethodResult:
    """What a method is worth and what it took.

    probes: one for every seed. shares: of the target tokens by where their rows came from. text_coverage: share of the
    held-out text's tokens whose rows rest on evidence. seconds, peak_memory_mb: of making the rows, in a process of its
    own, from opening the inputs on; the memory (MB of 10^6 bytes) is all that the process has, with interpreter,
    libraries and model.
    """

    method: Method
    probes: tuple[Probe, ...]
    shares: dict[str, float]
    text_coverage: float
    seconds: float
    peak_memory_mb: int | None

    def mean(self, of: Literal["before", "after", "en_to_xx", "xx_to_en"]) -> float | None:
        """The mean over the seeds; None for retrieval without held-out pairs."""
        values = self.values(of)
        return None if values is None else float(np.mean(values))

    def values(self, of: Literal["before", "after", "en_to_xx", "xx_to_en"]) -> list[float] | None:
        """One value for every seed, in their order."""
        if of in ("before", "after"):
            return [float(getattr(probe, of)) for probe in self.probes]
        found = [probe.retrieval for probe in self.probes if probe.retrieval is not None]
        return [float(scores[of]) for scores in found] or None


@dataclass(frozen=True)
class Comparison:
    """All methods that were compared, in the order they were asked for.

    objective: mlm or clm. steps: of a probe. seeds: those of the probes. held_out: lines that bits per byte are
    measured on. pairs: held-out sentence pairs. fresh_head: whether the source model had no language-modelling head.
    """

    methods: tuple[MethodResult, ...]
    objective: str
    steps: int
    seeds: tuple[int, ...]
    held_out: int
    pairs: int
    fresh_head: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare(
    model: str | Path,
    tokenizer: str | Path,
    *,
    text: Names,
    source_text: Names = (),
    bitext: Names = (),
    vectors: tuple[str | Path, str | Path] | None = None,
    lexicon: Names = (),
    table: str | Path | None = None,
    eval_bitext: str | Path | None = None,
    to: str | None = None,
    methods: Sequence[str] | None = None,
    probe_steps: int = 50,
    seeds: int = 1,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> Comparison:
    """Makes the rows of a new vocabulary with each method and lets all of them go through the same short training.

    model: the English model, a folder or hub id. tokenizer: the new language's. text: of the new language, files or hub
    data sets: some lines are held out to measure bits per byte, the others are for the probe (of more than 16 MB a
    sample) and for FOCUS. source_text: English text likewise; without it the bitext's English side. bitext, vectors
    (English, foreign), lexicon (files, or ``builtin`` with the language's tag in ``to``): what methods work from.
    table: a file that lingraft works from instead of making its own. eval_bitext: held-out sentence pairs for retrieval
    before the probe. methods: which, by default all whose inputs are given. probe_steps: steps of the probe; 0 leaves
    the graft as it is. seeds: so many, from ``seed`` on; rows without evidence, batches and masks depend on them, and
    they are the same for all methods. settings: keys of the recipe's training with dots, as in
    ``{"training.batch_size": 8}``. The same inputs and seed give the same numbers on the same machine, seconds and
    memory aside. on_progress: called with the stage, the share of it that is done (0 to 1) and a note for people.

    Raises InputError for whatever is wrong with the inputs.
    """
    if probe_steps < 0 or seeds < 1:
        raise RecipeError(f"A probe has 0 steps or more and at least one seed; given: {probe_steps}, {seeds}.")
    files = InputFiles(
        str(table) if table else None, _names(bitext), (str(vectors[0]), str(vectors[1])) if vectors else None,
        _names(lexicon), _names(text), to,
    )  # fmt: skip
    chosen = _methods(methods, files)
    if not files.text:
        raise RecipeError("A comparison needs text of the new language: give --text.")
    if not source_text and not bitext:
        raise RecipeError("A probe trains on English text too: give --source-text, or a --bitext with an English side.")
    files.check()
    for name in _names(source_text):
        check_text(name)
    pairs = read_pairs([str(eval_bitext)]) if eval_bitext else []
    source, target = _load(model), load_tokenizer(tokenizer)
    check_positions(source.model, source.tokenizer, target)
    report = on_progress or (lambda *_: None)
    bench = _Bench(source, target, pairs, probe_steps, seed, _training(settings or {}), report)
    bench.read(_lines(files.text), _lines(_names(source_text)) if source_text else _english(files.bitext))
    made = {}
    for number, method in enumerate(chosen):
        report("rows", number / len(chosen), method)
        made[method] = measured_initialisation(
            method, str(model), str(tokenizer), files, seed,
            lambda done, note, number=number, method=method: report(  # type: ignore[misc]
                "rows", (number + min(done, 1.0)) / len(chosen), f"{method}: {note}"
            ),
        )  # fmt: skip
    report("rows", 1.0, ", ".join(f"{method} {one.seconds:.1f} s" for method, one in made.items()))
    bench.warm_up()
    probes: dict[Method, list[Probe]] = {method: [] for method in chosen}
    runs = [(each, method) for each in range(seed, seed + seeds) for method in chosen]
    for number, (each, method) in enumerate(runs):
        what = f"{method}, seed {each}"
        report("probe", number / len(runs), what)
        probes[method].append(bench.probe(made[method].initialisation, each, number / len(runs), len(runs), what))
    report("probe", 1.0, f"{len(runs)} probes of {probe_steps} steps")
    results = tuple(
        MethodResult(
            method, tuple(probes[method]), made[method].initialisation.table.shares(),
            bench.coverage(made[method].initialisation), made[method].seconds, made[method].peak_memory_mb,
        )
        for method in chosen
    )  # fmt: skip
    return Comparison(
        results, bench.recipe.objective, probe_steps, tuple(range(seed, seed + seeds)), len(bench.held_out), len(pairs),
        not source.has_head,
    )  # fmt: skip


def with_warm_head(
    source: LanguageModel, text: TokenStream, seed: int = 0, on_progress: OnProgress | None = None
) -> LanguageModel:
    """A copy of a model without a head under a masked-language-model head that was trained, alone, on English text.

    text: of the model's tokenizer (`lingraft.training.text_stream`). It takes the 200 steps that a transfer's training
    gives a fresh head, at the same rate. Saved (`lingraft.save_model`), `compare` takes the head as it is. Raises
    ModelError for an encoder that has no masked-language-model form.
    """
    headed = source.with_model(with_masked_lm_head(copy.deepcopy(source.model)))
    recipe = TrainingRecipe(objective="mlm", steps=TrainingRecipe().head_steps, **_ONCE)
    recipe = resolve_training(recipe, source.kind)
    report = on_progress or (lambda *_: None)

    def on_step(line: Progress) -> None:
        report(
            "head", line.step / line.steps, f"step {line.step:,} of {line.steps:,}, loss {line.losses['loss_en']:.3f}"
        )

    with tempfile.TemporaryDirectory(prefix="lingraft-head-") as folder:
        head_trainer(headed, text, recipe, seed, Path(folder)).run(on_step)
    headed.model.to("cpu")  # type: ignore[arg-type]
    return headed


class _Bench:
    """What all probes share: the source model with its head, the text, and the recipe."""

    def __init__(
        self, source: LanguageModel, target: PreTrainedTokenizerBase, pairs: list[tuple[str, str]], steps: int,
        seed: int, training: Mapping[str, Any], report: OnProgress,
    ) -> None:  # fmt: skip
        objective: Literal["mlm", "clm"] = "clm" if source.kind == "causal" else "mlm"
        check_objective(objective, source)
        if objective == "mlm" and target.mask_token_id is None:
            raise ModelError("The new tokenizer has no mask token, so the probe's masked language model cannot use it.")
        recipe = TrainingRecipe.model_validate({**_PROBE, **training, "objective": objective, "steps": max(1, steps)})
        self.recipe = resolve_training(recipe, source.kind)
        self._steps, self._seed = steps, seed
        self._fresh = not source.has_head
        self._source = source
        self._target = replace(source, tokenizer=target)
        self._pairs, self._report = pairs, report
        self.held_out: list[str] = []

    def read(self, foreign: Iterable[str], english: Iterable[str]) -> None:
        """Takes samples of both languages' text and splits the new one's; CorpusError if too little is left."""
        self._report("text", 0.0, "")
        lines = list(sample_lines(foreign, _TEXT_BYTES))
        kept_out = HeldOut(lines)
        self.held_out = list(dict.fromkeys(line for line in lines if line in kept_out))
        training = [line for line in lines if line not in kept_out]
        if not self.held_out or not training:
            raise CorpusError("The text has to have two different lines at least: some are held out, some trained on.")
        self._foreign = self._stream(self._target, training)
        self._report("text", 0.5, f"{len(training):,} lines")
        self._english = self._stream(self._source, list(sample_lines(english, _TEXT_BYTES)))
        self._report("text", 1.0, f"{len(training):,} lines, {len(self.held_out):,} held out")

    @staticmethod
    def _stream(language_model: LanguageModel, lines: list[str]) -> TokenStream:
        return text_stream(language_model, encode(language_model.tokenizer, lines))

    def warm_up(self) -> None:
        """Gives a model without a head a warm one; the model that was given is not changed."""
        if self._fresh:
            self._source = with_warm_head(self._source, self._english, self._seed, self._report)
        if self._pairs:
            self._english_sentences = self._embedded(self._source, 0)
            self._source.model.to("cpu")  # type: ignore[arg-type]

    def coverage(self, initialisation: Initialisation) -> float:
        """Share of the held-out text's tokens whose rows rest on evidence."""
        ids = encode(self._target.tokenizer, self.held_out).ids
        return float((initialisation.table.provenance[ids] != Provenance.fallback).mean()) if ids.size else 0.0

    def probe(self, initialisation: Initialisation, seed: int, begun: float, runs: int, what: str) -> Probe:
        """Grafts, measures, trains, measures."""
        source = self._source.with_model(copy.deepcopy(self._source.model))
        target = graft_with(source, self._target.tokenizer, initialisation, seed)
        if initialisation.calibrated:
            calibrate_output(target, self._foreign)
        retrieval = None
        if self._pairs:
            retrieval = retrieval_scores(self._english_sentences, self._embedded(target, 1))

        def measure() -> dict[str, Any]:
            return {"lm": evaluate_lm(target, self.held_out, self.recipe.sequence_length)["bits_per_byte"]}

        def on_step(line: Progress) -> None:
            self._report("probe", begun + line.step / line.steps / runs, f"{what}: {line}")

        if not self._steps:
            bits = float(measure()["lm"])
            return Probe(seed, bits, bits, retrieval)
        with tempfile.TemporaryDirectory(prefix="lingraft-probe-") as folder:
            trainer = language_model_trainer(
                source, {ONLY: target}, self._english, {ONLY: self._foreign}, self.recipe, seed, Path(folder)
            )
            before, after = (point["lm"] for point in trainer.run(on_step, measure)["measured"])
        return Probe(seed, float(before), float(after), retrieval)

    def _embedded(self, model: LanguageModel, side: int) -> np.ndarray[Any, Any]:
        for part in (model.model, *model.pooling):
            part.to(default_device())
        return embed_sentences(model, [pair[side] for pair in self._pairs])


def _load(model: str | Path) -> LanguageModel:
    """The source model; a sentence encoder with the language-modelling head that it was saved with, if it was."""
    source = load_model(model)
    if source.kind == "sentence":
        headed = load_model(model, head=True)
        if headed.kind == "masked":
            return source.with_model(headed.model)
    return source


def _training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the recipe's training among some settings; RecipeError for any other, or an impossible value."""
    values: dict[str, Any] = {"source": "", "language": "und"}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        if section != "training" or name in ("objective", "steps", "tokens", "budget"):
            raise RecipeError(
                f"A probe takes keys of the recipe's training, like training.batch_size, but not its objective and "
                f"length; given: '{key}'."
            )
        put(values, key, value)
    build_recipe(values)
    return dict(values.get("training", {}))


def _names(given: Names) -> tuple[str, ...]:
    return (str(given),) if isinstance(given, str | Path) else tuple(map(str, given))


def _lines(names: Sequence[str]) -> Iterator[str]:
    return clean_text(chain.from_iterable(map(read_text, names)), MAX_CHARS, Counts())


def _english(bitext: Sequence[str]) -> Iterator[str]:
    return (english for english, _ in read_pairs(bitext))


def _methods(wanted: Sequence[str] | None, files: InputFiles) -> tuple[Method, ...]:
    """The methods to compare; RecipeError for one that there is not, that is given twice or that lacks its inputs."""
    if wanted is None:
        return possible_methods(files.given)
    chosen = tuple(map(check_method, wanted))
    if not chosen or len(set(chosen)) < len(chosen):
        raise RecipeError(f"Give every method to compare once; given: {', '.join(wanted) or 'none'}.")
    for method in chosen:
        inputs_of(method, files.given)
    return chosen
