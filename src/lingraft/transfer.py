"""The one verb: from an English model and text of a new language to a model of that language, stage by stage.

This module knows the order of the stages and nothing of what happens inside them. Every stage is a folder below
``OUT/.cache`` named by the hash of its inputs, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from . import stages, texts
from .cache import StageCache, digest, file_digest, publish, remove, remove_leftovers, write_aside
from .corpus import absolute_hub, check_readable, check_text, hub_fingerprint, is_hub, split_bitext
from .errors import InputError, OutputError, RecipeError, StoppedError
from .inputs import Bitext, Text, persist_inputs
from .processes import leading, processes
from .recipe import Recipe, build_recipe, put, read_recipe_file
from .report import environment, peak_memory_mb, write_run
from .surgery import LanguageModel, load_model, resolve_model
from .training import check_activations, check_objective, check_share, check_trackers, resolve_training

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_log = logging.getLogger("lingraft")

#: called with the stage's name, the share of it that is done (0 to 1) and a note for people
OnProgress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class TransferResult:
    """A finished run. run: what run.json holds."""

    directory: Path
    recipe: Recipe
    run: dict[str, Any]

    @property
    def scores(self) -> dict[str, Any]:
        """Scores by state of the model: ``untouched``, ``grafted``, ``trained``."""
        scores: dict[str, Any] = self.run["scores"]
        return scores

    @property
    def target(self) -> LanguageModel:
        """The new language's model, read from ``directory/target``."""
        return load_model(self.directory / "target")

    @property
    def source(self) -> LanguageModel:
        """The English model, read from ``directory/source``."""
        return load_model(self.directory / "source")


@leading
def transfer(
    model: str | Path | LanguageModel | SentenceTransformer | tuple[PreTrainedModel, PreTrainedTokenizerBase],
    *,
    to: str,
    out: str | Path,
    bitext: Bitext = (),
    text: Text = (),
    source_text: Text = (),
    eval_bitext: Bitext | None = None,
    tokenizer: str | Path | None = None,
    vocab_size: int | None = None,
    objective: str = "auto",
    steps: int | None = None,
    tokens: int | None = None,
    budget: str | None = None,
    track: Sequence[str] = (),
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> TransferResult:
    """Grafts a language onto an English model.

    model: folder, hub id, or a loaded model (a SentenceTransformer, a pair of transformers model and tokenizer).
    to: BCP 47 tag. out: the run's folder. bitext: file names, or a list of (English, foreign) pairs. text, source_text:
    file names, or lists of lines. track: ``jsonl``, ``tensorboard``, ``wandb``. settings: further recipe keys with
    dots, e.g. ``{"training.batch_size": 32}``.

    Given loaded objects nothing touches the network; they are written to ``out/inputs`` first, so that the run can be
    resumed. Raises InputError for what was given, RunError for what failed, and StoppedError where SIGTERM or SIGINT
    came while it trained; `resume` then goes on. Of several processes that a launcher started the leading one does all
    of it but the training, and the others return what it returns.
    """
    directory = Path(out)
    with _removed_if_refused(directory):
        persisted = persist_inputs(directory / "inputs", model, bitext, text, source_text, eval_bitext)
        values: dict[str, Any] = {"source": persisted.model, "language": to, "seed": seed}
        for key, value in {
            "corpus.text": persisted.text,
            "corpus.source_text": persisted.source_text,
            "evidence.bitext": persisted.bitext,
            "evaluation.bitext": persisted.eval_bitext,
            "vocabulary.tokenizer": str(tokenizer) if tokenizer else None,
            "vocabulary.size": vocab_size,
            "training.objective": objective,
            "training.steps": steps,
            "training.tokens": tokens,
            "training.budget": budget,
            "training.track": track or None,
            **(settings or {}),
        }.items():
            if value is not None:
                put(values, key, value)
        return run_recipe(build_recipe(values), directory, on_progress)


@leading
def resume(directory: str | Path, on_progress: OnProgress | None = None) -> TransferResult:
    """Goes on with a run that was stopped, to the same result; a finished run is left as it is and returned."""
    directory = Path(directory)
    path = directory / "recipe.yaml"
    if not path.is_file():
        raise OutputError(f"'{directory}' holds no run: there is no recipe.yaml in it.")
    recipe = build_recipe(read_recipe_file(path))
    finished = _finished(directory, recipe)
    return finished or run_recipe(recipe, directory, on_progress)


def _finished(directory: Path, recipe: Recipe) -> TransferResult | None:
    """The run in a folder if it went to its end and everything it made is there."""
    try:
        run = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(run, dict) or run.get("recipe_hash") != digest(recipe.model_dump(mode="json")):
        return None
    made = all((directory / name).exists() for name in ("table.npz", "target", "source"))
    return TransferResult(directory, recipe, run) if made else None


@contextmanager
def _removed_if_refused(directory: Path) -> Iterator[None]:
    """If the input turns out wrong, removes what was not in the output folder before, and that folder if it is new."""
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"'{directory}' is a file; a folder for the run was expected.")

    def present() -> set[Path]:
        parents = {path for path in (directory, *directory.parents) if path.exists()}
        return parents | {path for folder in (directory, directory / "inputs") for path in folder.glob("*")}

    before = present()
    try:
        yield
    except OutputError:
        # the folder is somebody else's, perhaps since a moment ago: only what this call wrote may go
        if directory in before:
            for path in sorted(present() - before):
                if path.parent == directory / "inputs":
                    remove(path)
        raise
    except InputError:
        for path in sorted(present() - before):
            remove(path)
        raise


def _absolute(recipe: Recipe) -> Recipe:
    """The recipe with absolute paths, so that it means the same from any folder."""

    def file(name: str) -> str:
        return absolute_hub(name) if is_hub(name) else str(Path(name).expanduser().absolute())

    def text(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(file(name) for name in names)

    def bitext(name: str) -> str:
        return ",".join(file(str(path)) for path in split_bitext(name))

    def model(name: str) -> str:
        path = Path(name).expanduser()
        return str(path.absolute()) if path.exists() else name

    c, v, e, ev = recipe.corpus, recipe.vocabulary, recipe.evidence, recipe.evaluation
    return recipe.model_copy(
        update={
            "source": model(recipe.source),
            "corpus": c.model_copy(update={"text": text(c.text), "source_text": text(c.source_text)}),
            "vocabulary": v.model_copy(update={"tokenizer": model(v.tokenizer) if v.tokenizer else None}),
            "evidence": e.model_copy(update={"bitext": tuple(bitext(name) for name in e.bitext)}),
            "evaluation": ev.model_copy(update={"bitext": bitext(ev.bitext) if ev.bitext else None}),
        }
    )


def input_texts(recipe: Recipe) -> list[str]:
    """Every text file and hub data set a recipe names; CorpusError for the first that cannot be read."""
    bitexts = [*recipe.evidence.bitext, *([recipe.evaluation.bitext] if recipe.evaluation.bitext else [])]
    files = [path for name in bitexts for path in split_bitext(name)]
    for path in files:
        check_readable(path)
    names = [*recipe.corpus.text, *recipe.corpus.source_text]
    for name in names:
        check_text(name)
    return [*map(str, files), *names]


def _text_digest(name: str) -> str:
    """A hash of a text file's bytes, or of all that is known of the state of a hub data set."""
    return digest([name, hub_fingerprint(name)]) if is_hub(name) else file_digest(Path(name))


def check_inputs(recipe: Recipe) -> None:
    """Raises InputError for everything that can be seen to be wrong before any work is done."""
    input_texts(recipe)
    if not recipe.evidence.bitext:
        raise RecipeError("No evidence: give at least one --bitext, from which the correspondence of words is learned.")
    check_trackers(recipe.training.track)
    resolve_model(recipe.source)


@leading
def run_recipe(recipe: Recipe, directory: Path, on_progress: OnProgress | None = None) -> TransferResult:
    """Runs (or goes on with) a recipe in a folder; see `transfer`."""
    began = time.perf_counter()
    recipe = _absolute(recipe)
    with _removed_if_refused(directory):
        check_inputs(recipe)
        if Path(recipe.source).is_dir() and directory.resolve().is_relative_to(Path(recipe.source).resolve()):
            raise OutputError(f"'{directory}' lies inside the source model's folder; give an --out outside of it.")
        _refuse_other_runs(directory, recipe)
        with _locked(directory):
            _claim(directory, recipe)
            run = _Run(recipe, directory, on_progress or _log_progress)
            try:
                report = run.execute()
            except StoppedError as stopped:
                message = f"{stopped} Go on with: lingraft resume {shlex.quote(str(directory))}"
                raise StoppedError(message, stopped.signal_number) from None
            report["seconds"]["this_call"] = round(time.perf_counter() - began, 2)
            write_run(directory, report)
    return TransferResult(directory, run.recipe, report)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Holds the folder for this process; OutputError if another one is at work there. A kill frees it."""
    try:
        (directory / ".cache").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"'{directory}' cannot be made a folder for the run: {error.strerror}.") from None
    try:
        with FileLock(directory / ".cache" / "lock", timeout=0):
            yield
    except Timeout:
        raise OutputError(f"Another process is at work in '{directory}'; wait for it, or give another --out.") from None


def _log_progress(stage: str, share: float, note: str) -> None:
    _log.info("%s %3.0f %% %s", stage, 100 * share, note)


def _request(directory: Path, recipe: Recipe) -> tuple[Path, str]:
    """Where the digest of the recipe is kept as it was asked for (recipe.yaml has what the run decided too), and it."""
    return directory / ".cache" / "request.sha256", digest(recipe.model_dump(mode="json"))


def _refuse_other_runs(directory: Path, recipe: Recipe) -> None:
    """OutputError if the folder holds another run, or things that are no run."""
    path = directory / "recipe.yaml"
    request, asked = _request(directory, recipe)
    if path.is_file():
        if build_recipe(read_recipe_file(path)) == recipe:
            return
        if not (request.is_file() and request.read_text(encoding="utf-8") == asked):
            raise OutputError(
                f"'{directory}' holds a different run (see its recipe.yaml). Give another --out, delete that folder, "
                f"or go on with what it holds: lingraft resume {directory}"
            )
        return
    names = [entry.name for entry in directory.iterdir()] if directory.exists() else []
    if any(name not in ("inputs", ".cache") and not name.startswith(".aside-") for name in names):
        raise OutputError(f"'{directory}' is not empty and holds no run; give another --out.")


def _claim(directory: Path, recipe: Recipe) -> None:
    """Makes the folder, which must be locked, this run's own."""
    _refuse_other_runs(directory, recipe)
    if not (directory / "recipe.yaml").is_file():
        write_aside(*_request(directory, recipe))
        write_aside(directory / "recipe.yaml", recipe.to_yaml())


class _Run:
    """The stages of one run, in order, and what each one says for run.json."""

    def __init__(self, recipe: Recipe, directory: Path, on_progress: OnProgress) -> None:
        self.recipe = recipe
        self.directory = directory
        remove_leftovers(directory)
        self.cache = StageCache(directory / ".cache")
        self.progress = on_progress
        self.report: dict[str, Any] = environment()

    def _step(self, name: str) -> Callable[[float, str], None]:
        def update(share: float, note: str = "") -> None:
            self.progress(name, share, note)

        update(0.0, "")
        return update

    def execute(self) -> dict[str, Any]:
        """Runs what has not been run and returns the content of run.json."""
        source_folder = resolve_model(self.recipe.source)
        files = {name: _text_digest(name) for name in input_texts(self.recipe)}
        inputs = texts.Inputs(self.recipe, source_folder, files)
        self.report["inputs"] = files

        update = self._step("corpus")
        source = load_model(source_folder)
        check_objective(self.recipe.training.objective, source)
        if self.recipe.training.checkpoint_activations:
            check_activations(source.model)
        corpus, counts = texts.make_corpus(self.cache, inputs)
        self.report["corpus"] = counts
        update(1.0, texts.describe_corpus(counts))

        update = self._step("vocabulary")
        training = resolve_training(self.recipe.training, source.kind)
        check_share(processes(), training.batch_size)
        self.recipe = self.recipe.model_copy(update={"training": training})
        write_aside(self.directory / "recipe.yaml", self.recipe.to_yaml())
        vocabulary = stages.make_vocabulary(self.cache, inputs, source, corpus)
        self.report["vocabulary"] = vocabulary.report
        update(1.0, f"{len(vocabulary.tokenizer):,} tokens")

        update = self._step("table")
        table = stages.make_table(self.cache, inputs, source, vocabulary, corpus, update)
        self.report["table"] = table.report
        update(1.0, stages.describe_table(table.report))

        update = self._step("graft")
        grafted = stages.make_graft(self.cache, inputs, source, vocabulary, table, corpus)
        self.report["graft"] = grafted.report
        update(1.0, "")

        final = grafted
        if training.objective != "none":
            update = self._step("training")
            final = processes().together(
                stages.make_training,
                self.cache,
                inputs,
                training,
                table,
                grafted,
                corpus,
                update,
                self.directory / "track",
            )
            self.report["training"] = final.report
            update(1.0, f"{final.report['steps']:,} steps")

        update = self._step("scores")
        self.report["scores"] = stages.make_scores(self.cache, inputs, grafted, final, update)
        update(1.0, "")

        publish(table.path, self.directory / "table.npz")
        publish(final.target, self.directory / "target")
        publish(final.source, self.directory / "source")
        self.report["language"] = self.recipe.language
        self.report["source"] = {"name": self.recipe.source, "kind": source.kind, "hash": inputs.model_digest}
        self.report["recipe_hash"] = digest(self.recipe.model_dump(mode="json"))
        self.report["seconds"] = {name: round(value, 2) for name, value in self.cache.seconds.items()}
        self.report["reused_stages"] = list(self.cache.reused)
        self.report["peak_memory_mb"] = peak_memory_mb()
        self.report["status"] = "done"
        return self.report
