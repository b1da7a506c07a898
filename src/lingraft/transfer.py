"""The one verb: from an English model and text of a new language to a model of that language.

This module knows whose an output folder is; `settling` what a recipe leaves open and what is refused before any work,
and `run` the order of the stages.
"""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from .cache import digest, remove, remove_leftovers, write_aside
from .errors import InputError, OutputError, RecipeError, StoppedError, in_one_line
from .inputs import Bitext, Dictionary, Text, Vectors, recipe_of
from .processes import leading
from .recipe import Recipe, build_recipe, read_recipe_file
from .report import report as make_report
from .report import write_run
from .run import OnProgress, Run, result_folders
from .settling import absolute, check_inputs, with_evidence
from .surgery import LanguageModel, load_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_log = logging.getLogger("lingraft")


@dataclass(frozen=True)
class TransferResult:
    """A finished run, with one new language or several. run: what run.json holds.

    directory: of the run. recipe: fully resolved, as in recipe.yaml.
    """

    directory: Path
    recipe: Recipe
    run: dict[str, Any]

    @property
    def scores(self) -> dict[str, Any]:
        """Scores by state of the model: ``untouched``, ``grafted``, ``trained``; of several languages, by language."""
        scores: dict[str, Any] = self.run["scores"]
        return scores

    @property
    def target(self) -> LanguageModel:
        """The new language's model, read from ``directory/target``; RecipeError where there are several languages."""
        if self.recipe.several:
            raise RecipeError(
                f"The run has several languages ({', '.join(self.recipe.languages)}), each with a model: take "
                f".targets['{self.recipe.languages[0]}'] and the like, not .target."
            )
        return load_model(self.directory / "target")

    @property
    def targets(self) -> dict[str, LanguageModel]:
        """Each new language's model by its tag, read from ``directory/LANGUAGE/target`` where there are several."""
        folders = result_folders(self.directory, self.recipe)
        return {language: load_model(folder / "target") for language, folder in folders.items()}

    @property
    def source(self) -> LanguageModel:
        """The English model, read from ``directory/source``."""
        return load_model(self.directory / "source")


@leading
def transfer(
    model: str | Path | LanguageModel | SentenceTransformer | tuple[PreTrainedModel, PreTrainedTokenizerBase],
    *,
    to: str | Sequence[str],
    out: str | Path,
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
    on_progress: OnProgress | None = None,
) -> TransferResult:
    """Grafts a language, or several under one body, onto an English model.

    model: folder, hub id, or a loaded model (a SentenceTransformer, a pair of transformers model and tokenizer). to:
    BCP 47 tag, or a list of several. out: the run's folder. bitext: file names, or a list of (English, foreign) pairs.
    lexicon: file names (``builtin`` for the package's own), or a `Lexicon`. vectors: the files of English and of the
    new language, two `WordVectors`, or ``train``. text, source_text: file names, or lists of lines. With several
    languages bitext, lexicon, vectors, text, eval_bitext and tokenizer are mappings from a language to these. track:
    ``jsonl``, ``tensorboard``, ``wandb``. allow_pickle: the model's weights may be a pickle (``pytorch_model.bin``), of
    which no code is run. settings: further recipe keys with dots, as in ``{"training.batch_size": 32}``. vocab_size:
    tokens of a vocabulary that is trained. objective: ``auto``, ``mlm``, ``distill``, ``clm`` or ``none``. steps,
    tokens, budget: one of them says how long, budget as in ``90m``. seed: of everything random. on_progress: called
    with the stage, the share of it that is done (0 to 1) and a note for people.

    Given loaded objects nothing touches the network; they are written to ``out/inputs`` first, so that the run can be
    resumed. Raises InputError for what was given, RunError for what failed, and StoppedError where SIGTERM or SIGINT
    came while it trained; `resume` then goes on. Of several processes that a launcher started the leading one does all
    of it but the training, and the others return what it returns.
    """
    directory = Path(out)
    with _removed_if_refused(directory):
        recipe = recipe_of(
            directory / "inputs",
            {
                "model": model, "to": to, "bitext": bitext, "lexicon": lexicon, "vectors": vectors, "text": text,
                "source_text": source_text, "eval_bitext": eval_bitext, "tokenizer": tokenizer,
                "vocab_size": vocab_size, "objective": objective, "steps": steps, "tokens": tokens, "budget": budget,
                "track": track, "allow_pickle": allow_pickle, "seed": seed, "settings": settings,
            },
        )  # fmt: skip
        return run_recipe(recipe, directory, on_progress)


@leading
def resume(directory: str | Path, on_progress: OnProgress | None = None) -> TransferResult:
    """Goes on with a run that was stopped, to the same result; a finished run is left as it is and returned.

    directory: of the run. on_progress: as for `transfer`. Raises OutputError where no run is, and what `transfer`
    raises.
    """
    directory = Path(directory)
    path = directory / "recipe.yaml"
    if not path.is_file():
        raise OutputError(f"'{directory}' holds no run: there is no recipe.yaml in it.")
    recipe = build_recipe(read_recipe_file(path))
    finished = _finished(directory, recipe)
    if finished and not (directory / "report.html").exists():  # it was killed just before
        with _locked(directory):
            remove_leftovers(directory)
            add_report(directory, finished.run)
    return finished or run_recipe(recipe, directory, on_progress)


def _finished(directory: Path, recipe: Recipe) -> TransferResult | None:
    """The run in a folder if it went to its end and everything it made is there."""
    try:
        run = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(run, dict) or run.get("recipe_hash") != digest(recipe.model_dump(mode="json")):
        return None
    made = [folder / name for folder in result_folders(directory, recipe).values() for name in ("table.npz", "target")]
    return TransferResult(directory, recipe, run) if all(p.exists() for p in (*made, directory / "source")) else None


@contextmanager
def _removed_if_refused(directory: Path) -> Iterator[None]:
    """If the input turns out wrong, removes what was not in the output folder before, and that folder if it is new."""
    _refuse_file(directory)

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


@leading
def run_recipe(recipe: Recipe, directory: Path, on_progress: OnProgress | None = None) -> TransferResult:
    """Runs (or goes on with) a recipe in a folder; see `transfer`."""
    began = time.perf_counter()
    with _removed_if_refused(directory):
        recipe = with_evidence(absolute(recipe))
        check_inputs(recipe)
        check_output(directory, recipe)
        with _locked(directory):
            _claim(directory, recipe)
            run = Run(recipe, directory, on_progress or _log_progress)
            try:
                report = run.execute()
            except StoppedError as stopped:
                message = f"{stopped} Go on with: lingraft resume {shlex.quote(str(directory))}"
                raise StoppedError(message, stopped.signal_number) from None
            report["seconds"]["this_call"] = round(time.perf_counter() - began, 2)
            write_run(directory, report)
            add_report(directory, report)
    return TransferResult(directory, run.recipe, report)


def add_report(directory: Path, numbers: dict[str, Any]) -> None:
    """Writes the report of a run that is finished. Where that fails the run stays finished, and run.json says why.

    numbers: what run.json holds.
    """
    try:
        make_report(directory)
    except Exception as error:  # whatever it is, the models are there and whole
        again = f"lingraft report {shlex.quote(str(directory))}"
        note = f"report.html could not be made ({in_one_line(error)}); try again with: {again}"
        _log.warning("%s", note)
        if note not in numbers.setdefault("notes", []):
            numbers["notes"].append(note)
            write_run(directory, numbers)


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


def _refuse_file(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"'{directory}' is a file; a folder for the run was expected.")


def check_output(directory: Path, recipe: Recipe) -> None:
    """OutputError unless a recipe, as it was settled, can be run in a folder or gone on with there."""
    _refuse_file(directory)
    if Path(recipe.source).is_dir() and directory.resolve().is_relative_to(Path(recipe.source).resolve()):
        raise OutputError(f"'{directory}' lies inside the source model's folder; give an --out outside of it.")
    _refuse_other_runs(directory, recipe)


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
