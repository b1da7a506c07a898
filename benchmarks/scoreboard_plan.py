"""Which cells a scoreboard has, and what has to be run for each: commands, and what they wait for."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from lab import ENGLISH, lab_file, same_encoder, tests_of
from scoreboard_store import STEPS, Record, Store, Unit, slimmed

from lingraft.cache import digest, file_digest, folder_digest

#: methods of `lingraft init` that are compared; untouched is the English model as it is
PEERS = ("random", "mean", "ramen", "wechsel", "focus")
METHODS = ("untouched", *PEERS, "lingraft")

#: tasks of the board: the task of lingraft, and the score that stands in tables
TASKS = {
    "xnli": ("nli", "accuracy"), "las": ("parse", "las"), "retrieval": ("retrieval", "mean"),
    "bits": ("lm", "bits_per_byte"), "supervised": ("parse", "las"), "projected": ("parse", "las"),
}  # fmt: skip
ZERO_SHOT = ("xnli", "las")

#: treebanks of languages other than English that a parser can be trained on
SUPERVISED = {"vi": ("ud/vi_vtb-ud-train.conllu", "ud/vi_vtb-ud-dev.conllu")}


@dataclass(frozen=True)
class Row:
    """A line of the tables: a method with a budget (None: no training), or a recipe by its name."""

    method: str
    budget: str | None = None
    recipe: Path | None = None

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return self.method if self.budget is None else f"{self.method}, {self.budget}"

    @property
    def slug(self) -> str:
        """For file names."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name)


@dataclass(frozen=True)
class Cell:
    """One number: a model, a language, a row, a task, a seed, and the unit of work that gives it."""

    source: str
    language: str
    row: Row
    task: str
    seed: int
    unit: Unit


@dataclass(frozen=True)
class Axes:
    """What was chosen on the command line.

    sources, baselines: models by name. seeds: of task models. graft_seeds: of grafts, for retrieval and bits per byte;
    task models go under the graft of the first. bitext, text, source_text: file names with XX for the language; empty
    text means the sides of the bitext. projected: trees wanted from the bitext. evidence: what lingraft works from, of
    bitext, builtin, dictionary. settings: of transfers; task_settings: of fine-tuning, by task, and of ``adapt``, each
    perhaps with ``NAME:`` of one source in front.
    """

    lab: Path
    sources: Mapping[str, Path]
    baselines: Mapping[str, Path]
    languages: Sequence[str]
    rows: Sequence[Row]
    tasks: Sequence[str]
    seeds: Sequence[int] = (0,)
    graft_seeds: Sequence[int] = (0,)
    nli_pairs: int = 60_000
    sentences: int = 0
    projected: int = 12_000
    bitext: Sequence[str] = ()
    text: Sequence[str] = ()
    source_text: Sequence[str] = ()
    evidence: Sequence[str] = ("bitext", "builtin")
    objective: str = "auto"
    settings: Sequence[str] = ()
    task_settings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    megabytes: float = 8.0


@cache
def _digest(path: Path) -> str:
    return folder_digest(path) if path.is_dir() else file_digest(path)


@cache
def kind_of(model: Path) -> str:
    """causal, masked (with its head) or encoder, as the folder says."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    names = " ".join(config.get("architectures") or ())
    if "ForCausalLM" in names or "LMHeadModel" in names:
        return "causal"
    return "masked" if "ForMaskedLM" in names and not (model / "modules.json").is_file() else "encoder"


class Plan:
    """The units of work of a board, each made once."""

    def __init__(self, axes: Axes, store: Store) -> None:
        self.axes, self.store, self.out = axes, store, store.folder
        self.models = {**axes.sources, **axes.baselines}

    def cells(self) -> Iterator[Cell]:
        """All cells, seed by seed, so that a board is complete with one seed before it has the others."""
        axes = self.axes
        for number in range(max(len(axes.seeds), len(axes.graft_seeds))):
            for source in self.models:
                for language in ("en", *axes.languages):
                    for task in axes.tasks:
                        seeds = axes.graft_seeds if task in ("retrieval", "bits") else axes.seeds
                        if number < len(seeds) and self._has(source, language, task):
                            for row in self.rows(source, language, task):
                                yield self._cell(source, language, row, task, seeds[number])

    def _has(self, source: str, language: str, task: str) -> bool:
        kind = kind_of(self.models[source])
        if task == "bits":
            return kind != "encoder" and language != "en" and source in self.axes.sources
        if kind == "causal" or (language == "en" and task not in ZERO_SHOT):
            return False
        if task == "projected":
            return language != "en" and source in self.axes.sources
        return task != "supervised" or language in SUPERVISED

    def rows(self, source: str, language: str, task: str) -> list[Row]:
        """The rows of a model in a language and task. Only language models train with their own tokenizer."""
        untouched = [row for row in self.axes.rows if row.method == "untouched" and row.budget is None]
        if task == "projected":
            return [row for row in self.axes.rows if row.method != "untouched"]
        if language == "en" or source in self.axes.baselines:
            return untouched or [Row("untouched")]
        return [row for row in self.axes.rows if row.method != "untouched" or row.budget is None or task == "bits"]

    def _cell(self, source: str, language: str, row: Row, task: str, seed: int) -> Cell:
        graft_seed = seed if task in ("retrieval", "bits") else self.axes.graft_seeds[0]
        graft = None if row == Row("untouched") else self.graft(source, language, row, graft_seed)
        make = {"retrieval": self._retrieval, "bits": self._bits, "supervised": self._supervised,
                "projected": self._projected}  # fmt: skip
        lingraft_task = TASKS[task][0]
        key, needs, command = make.get(task, partial(self._zero_shot, lingraft_task))(source, language, graft, seed)
        name = f"{source}/{language}/{row.slug}/{task}-{seed}"
        like = ("score", source, task)
        return Cell(source, language, row, task, seed, Unit(name, [task, key], like, command, needs))

    # what is scored

    def _zero_shot(self, task: str, source: str, language: str, graft: Unit | None, seed: int) -> Any:
        tests = tests_of(self.axes.lab, task, language)

        def needs() -> Iterator[Unit]:
            if graft:
                yield graft
            yield self.task_model(task, source, seed, graft)

        def command() -> list[str]:
            model = self.task_model(task, source, seed, graft).folder
            swap = ["--to", str(target(graft)), "--source-model", str(self.english(source, graft))] if graft else []
            return _step("score", task, "--model", model, *swap, "--data", *tests)

        english = self._task_key(task, source, seed)
        return [english, graft.key if graft else None, [_digest(test) for test in tests]], needs, command

    def _retrieval(self, source: str, language: str, graft: Unit | None, _: int) -> Any:
        sides = [lab_file(self.axes.lab, f"flores/devtest.{side}.txt") for side in ("en", language)]

        def command() -> list[str]:
            model = target(graft) if graft else self.models[source]
            english = ["--source-model", self.english(source, graft)] if graft else []
            return _step("score", "retrieval", "--model", model, *english, "--data", ",".join(map(str, sides)))

        return self._of(source, graft, sides), lambda: [graft] if graft else [], command

    def _bits(self, source: str, language: str, graft: Unit | None, _: int) -> Any:
        text = lab_file(self.axes.lab, f"flores/devtest.{language}.txt")

        def command() -> list[str]:
            return _step("score", "lm", "--model", target(graft) if graft else self.models[source], "--data", text)

        return self._of(source, graft, [text]), lambda: [graft] if graft else [], command

    def _supervised(self, source: str, language: str, graft: Unit | None, seed: int) -> Any:
        train, dev = (lab_file(self.axes.lab, name) for name in SUPERVISED[language])
        tests = tests_of(self.axes.lab, "parse", language)
        sets = self._task_sets("parse", source)
        key = [self._of(source, graft, [train, dev, *tests]), sets, seed]
        name = f"tasks/{source}/{language}-{_name(graft)}/supervised-{seed}"
        folder = self.out / f"{name}-{digest(key)[:8]}"

        def training() -> list[str]:
            model = target(graft) if graft else self.models[source]
            return _lingraft("finetune", "parse", "--model", model, "--train", train, "--dev", dev, "--out", folder,
                             "--seed", seed, *_sets(sets))  # fmt: skip

        parser = Unit(name, key, ("finetune", source, "supervised"), training, lambda: [graft] if graft else [], folder)
        return key, lambda: [parser], lambda: _step("score", "parse", "--model", folder, "--data", *tests)

    def _projected(self, source: str, language: str, graft: Unit | None, seed: int) -> Any:
        """The English parser, swapped, then adapted on trees that the bitext carries over."""
        assert graft is not None
        axes, tests = self.axes, tests_of(self.axes.lab, "parse", language)
        bitext = self._files(axes.bitext, language, "parallel/en-XX.tsv")[0]
        sets = self._task_sets("adapt", source)
        swap_key = [self._task_key("parse", source, seed), graft.key]
        key = [*swap_key, _digest(bitext), language, axes.projected, sets]
        place = f"tasks/{source}/{language}-{_name(graft)}"
        swapped_folder = self.out / f"{place}/swapped-{seed}-{digest(swap_key)[:8]}"
        folder = self.out / f"{place}/projected-{seed}-{digest(key)[:8]}"

        def parser() -> Unit:
            return self.task_model("parse", source, seed, graft)

        def swapping() -> list[str]:
            return _lingraft("swap", "--task-model", parser().folder, "--to", target(graft), "--source-model",
                             self.english(source, graft), "--out", swapped_folder)  # fmt: skip

        def adapting() -> list[str]:
            return _lingraft("adapt", "parse", "--model", swapped_folder, "--teacher", parser().folder, "--bitext",
                             bitext, "--language", language, "--sentences", axes.projected, "--out", folder, "--seed",
                             seed, *_sets(sets))  # fmt: skip

        def before() -> Iterator[Unit]:
            yield graft
            yield parser()

        swapped = Unit(f"{place}/swapped-{seed}", swap_key, ("swap", source), swapping, before, swapped_folder)
        adapted = Unit(f"{place}/projected-{seed}", key, ("adapt", source), adapting, lambda: [swapped], folder)
        return (
            [key, [_digest(test) for test in tests]],
            lambda: [adapted],
            lambda: _step("score", "parse", "--model", folder, "--data", *tests),
        )

    def _of(self, source: str, graft: Unit | None, files: Sequence[Path]) -> list[Any]:
        return [_digest(self.models[source]), graft.key if graft else None, [_digest(path) for path in files]]

    # task models

    def _task_sets(self, task: str, source: str) -> list[str]:
        """Settings of fine-tuning; those with the name of another source in front left out."""
        split = [setting.rpartition(":") for setting in self.axes.task_settings.get(task, ())]
        return [setting for name, _, setting in split if name in ("", source)]

    def _task_key(self, task: str, source: str, seed: int) -> list[Any]:
        examples = self.axes.nli_pairs if task == "nli" else self.axes.sentences
        files = [_digest(lab_file(self.axes.lab, name)) for name in ENGLISH[task]]
        return [task, _digest(self.models[source]), files, examples, self._task_sets(task, source), seed]

    def task_model(self, task: str, source: str, seed: int, graft: Unit | None = None) -> Unit:
        """The English task model: of the source, or of the English model of a run whose training moved it."""
        moved = graft is not None and (self.store.record(graft) or {}).get("moved", False)
        train, dev = (lab_file(self.axes.lab, name) for name in ENGLISH[task])
        examples = self.axes.nli_pairs if task == "nli" else self.axes.sentences
        needs = []
        if examples:
            part = self.out / "data" / f"{task}-{examples}{'.tsv' if task == 'nli' else '.conllu'}"
            whole = train
            needs = [
                Unit(f"data/{part.stem}", [_digest(whole), examples], ("data", "head"),
                     lambda: _step("head", whole, "--examples", examples, "--out", part), folder=part)
            ]  # fmt: skip
            train = part
        key = [self._task_key(task, source, seed), graft.key if graft and moved else None]
        name = f"tasks/{source}/{_name(graft) if moved else 'english'}/{task}-{seed}"
        if graft and moved:
            name = f"tasks/{source}/{graft.name.split('/')[2]}-{_name(graft)}/{task}-{seed}"
        folder = self.out / f"{name}-{digest(key)[:8]}"

        def command() -> list[str]:
            return _lingraft(
                "finetune", task, "--model", self.english(source, graft), "--train", train, "--dev", dev, "--out",
                folder, "--seed", seed, *_sets(self._task_sets(task, source)),
            )  # fmt: skip

        return Unit(name, key, ("finetune", source, task), command, lambda: needs, folder)

    def english(self, source: str, graft: Unit | None) -> Path:
        """The English model that belongs to a graft."""
        moved = graft is not None and (self.store.record(graft) or {}).get("moved", False)
        return graft.folder / "source" if graft and graft.folder and moved else self.models[source]

    # grafts

    def graft(self, source: str, language: str, row: Row, seed: int) -> Unit:
        """The unit that makes the new language's model of a row."""
        name = f"runs/{source}/{language}/{row.slug}-{seed}"
        make = self._transfer if row.recipe or row.method == "lingraft" else self._started
        if row.method in PEERS and row.budget is None:
            make = self._init
        return make(name, source, language, row, seed)

    def _files(self, patterns: Sequence[str], language: str, otherwise: str = "") -> list[Path]:
        names = patterns or ([otherwise] if otherwise else [])
        found = [Path(name.replace("XX", language)) for name in names]
        return [path if path.is_absolute() or path.exists() else lab_file(self.axes.lab, str(path)) for path in found]

    def _data(self, language: str) -> tuple[list[Any], list[str]]:
        """What a transfer reads: digests, and options."""
        axes = self.axes
        bitext = self._files(axes.bitext, language, "parallel/en-XX.tsv") if "bitext" in axes.evidence else []
        lexicons: list[Path | str] = ["builtin"] if "builtin" in axes.evidence else []
        if "dictionary" in axes.evidence:
            lexicons.append(lab_file(axes.lab, f"dictionaries/en-{language}.tsv"))
        text, english = (self._files(given, language) for given in (axes.text, axes.source_text))
        named = {"--bitext": bitext, "--lexicon": lexicons, "--text": text, "--source-text": english}
        key = [[_digest(each) if isinstance(each, Path) else each for each in given] for given in named.values()]
        return key, [part for option, given in named.items() for each in given for part in (option, str(each))]

    def _length(self, row: Row) -> list[str]:
        if row.recipe:
            return ["--recipe", str(row.recipe)]
        if row.budget is None:
            return ["--objective", "none"]
        kind, _, number = row.budget.rpartition("=")
        return ["--objective", self.axes.objective, *(["--steps", number] if kind else ["--budget", number])]

    def _transfer(self, name: str, source: str, language: str, row: Row, seed: int) -> Unit:
        digests, options = self._data(language)
        sets = [each for each in self.axes.settings if row.budget or row.recipe or not each.startswith("training.")]
        length = self._length(row)
        key = [_digest(self.models[source]), language, digests, length if not row.recipe else _digest(row.recipe), sets]
        folder = self.out / f"{name}-{digest([*key, seed])[:8]}"

        def command() -> list[str]:
            return _lingraft("transfer", self.models[source], "--to", language, "--out", folder, *options, *length,
                             *_sets(sets), "--seed", seed)  # fmt: skip

        return self._run(name, [*key, seed], source, row, folder, command, tuple)

    def _run(
        self, name: str, key: Any, source: str, row: Row, folder: Path, command: Callable[[], list[str]], needs: Any
    ) -> Unit:
        def finish() -> Record:
            moved = not same_encoder(self.models[source], folder / "source")
            slimmed(folder, ".cache", *([] if moved else ["source"]))
            return {"moved": moved}

        return Unit(name, key, ("graft", source, row.name), command, needs, folder, whole=False, finish=finish)

    def _init(self, name: str, source: str, language: str, row: Row, seed: int) -> Unit:
        """Another method's rows for the tokenizer of lingraft's graft, from what this method works from."""
        base = self.graft(source, language, Row("lingraft"), self.axes.graft_seeds[0])
        axes = self.axes
        needs: list[Unit] = [base]
        options: list[Any] = []
        files: list[Path] = []
        if row.method == "ramen":
            files = self._files(axes.bitext, language, "parallel/en-XX.tsv")
            options = [part for path in files for part in ("--bitext", path)]
        elif row.method == "wechsel":
            vectors = [self._vectors(source, side) for side in ("en", language)]
            needs += vectors
            files = [lab_file(axes.lab, f"dictionaries/en-{language}.tsv")]
            options = ["--vectors", ",".join(str(each.folder) for each in vectors), "--lexicon", files[0]]
        elif row.method == "focus":
            text = self._sample(language)
            needs.append(text)
            options = ["--text", text.folder]
        key = [base.key, row.method, [_digest(path) for path in files], [each.key for each in needs[1:]], seed]
        folder = self.out / f"{name}-{digest(key)[:8]}"

        def command() -> list[str]:
            return _lingraft("init", self.models[source], target(base), "--method", row.method, *options, "--seed",
                             seed, "--out", folder / "target")  # fmt: skip

        def finish() -> Record:
            return {"moved": False}

        like = ("graft", source, row.name)
        return Unit(name, key, like, command, lambda: needs, folder / "target", finish=finish)

    def _started(self, name: str, source: str, language: str, row: Row, seed: int) -> Unit:
        """Training from another method's rows, or of the untouched model with its own tokenizer."""
        untouched = row.method == "untouched"
        base = None if untouched else self.graft(source, language, Row("lingraft"), self.axes.graft_seeds[0])
        start = None if untouched else self.graft(source, language, Row(row.method), seed)
        digests, options = self._data(language)
        model, length, sets = self.models[source], self._length(row), list(self.axes.settings)
        sets = [each for each in sets if not each.startswith("vocabulary.")]
        key = [_digest(model), language, digests, length, sets, start.key if start else "own tokenizer", seed]
        folder = self.out / f"{name}-{digest(key)[:8]}"

        def command() -> list[str]:
            return _step(
                "train", model, "--start", target(start) if start else model, "--tokenizer",
                target(base) if base else model, "--to", language, "--out", folder, *options, *length, *_sets(sets),
                "--seed", seed,
            )  # fmt: skip

        return self._run(
            name, key, source, row, folder, command, lambda: [each for each in (base, start) if each is not None]
        )

    def _vectors(self, source: str, language: str) -> Unit:
        text = lab_file(self.axes.lab, f"mono/{language}.txt")
        model = self.models[source]
        key = [_digest(text), _digest(model)]
        path = self.out / "data" / f"{source}-{language}-{digest(key)[:8]}.vec"

        def command() -> list[str]:
            return _step("vectors", model, "--text", text, "--out", path)

        return Unit(f"data/{source}-{language}-vectors", key, ("data", "vectors"), command, folder=path)

    def _sample(self, language: str) -> Unit:
        text, size = lab_file(self.axes.lab, f"mono/{language}.txt"), self.axes.megabytes
        path = self.out / "data" / f"{language}-{size:g}.txt"

        def command() -> list[str]:
            return _step("sample", "--text", text, "--megabytes", size, "--out", path)

        return Unit(f"data/{language}-sample", [_digest(text), size], ("data", "sample"), command, folder=path)


def target(graft: Unit | None) -> Path:
    """The new language's model of a graft."""
    assert graft is not None
    assert graft.folder is not None
    return graft.folder if graft.folder.name == "target" else graft.folder / "target"


def _name(graft: Unit | None) -> str:
    return graft.name.rpartition("/")[2] if graft else "untouched"


def _sets(settings: Sequence[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def _lingraft(*arguments: object) -> list[str]:
    return ["lingraft", *map(str, arguments), "--json", "--quiet"]


def _step(*arguments: object) -> list[str]:
    return [sys.executable, str(STEPS), *map(str, arguments)]
