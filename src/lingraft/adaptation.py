"""A swapped task model taught what the English one says of the English side of a bitext, from files to a folder.

OUT/                   the adapted model, or with several seeds OUT/seed-0, ...
OUT/projected.conllu   the trees in part it was trained on (in every seed's folder where there are several)
OUT/run.json           how it was made: inputs, counts, the scores on held-out trees before and after
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .cache import refuse_existing, replacing
from .corpus import Counts, clean_pairs, read_bitext, sample_lines, split_bitext
from .errors import CorpusError, ModelError, RecipeError
from .report import environment, peak_memory_mb, write_run
from .sections import read_languages
from .taskruns import OnProgress, digests, on_device, seed_folders, task_settings
from .tasks.kinds import task_kind
from .tasks.loop import FinetuneProgress, train_task
from .tasks.parsing import Parser, ParsingTask, load_parser, write_conllu
from .tasks.parsing.projection import MIN_SHARE, Projection, linked_pairs, project_trees
from .tasks.settings import FinetuneSettings

#: of a bitext that is larger, so much is aligned, a sample spread over all of it; the links of more are hardly better
_AT_MOST_BYTES = 64_000_000
#: fewer trees teach nothing
_LEAST_SENTENCES = 50
#: of the projected sentences, those that training does not see: a share, and how many at most
_HELD_OUT, _MOST_HELD_OUT = 0.1, 300

#: settings that differ from those of fine-tuning a parser: little text, and a model that only has to be put right
DEFAULTS: Mapping[str, Any] = {
    "epochs": 1.0, "batch_size": 8, "learning_rate": 1e-4, "head_learning_rate": 5e-4, "evaluations": 4,
    "train_embeddings": True,
}  # fmt: skip


def adapt(
    task: str,
    model: str | Path,
    *,
    teacher: str | Path,
    bitext: str,
    language: str,
    out: str | Path,
    sentences: int = 4000,
    min_share: float = MIN_SHARE,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Trains a parser that was swapped into a language on English trees projected over a bitext.

    task: parse. model: the swapped parser. teacher: the English one it was made from. Either may be a folder with
    several seeds; as many teachers as models, or one for all. bitext: sentence pairs, English first. language: tag of
    the other side, by which words are cut. out: folder of the result. sentences: projected trees wanted, of which a
    tenth (300 at most) is held out to choose the state by. min_share: of a sentence's words that must get a head, in
    (0, 1]. settings, more: fields of `FinetuneSettings`; `DEFAULTS` says what differs here. Returns the content of
    ``out/run.json``. on_progress: called with the stage, the share of it that is done (0 to 1) and a note for people.

    No treebank of the language is read. Raises RecipeError for impossible options, ModelError when the models are no
    parsers with the same relations, CorpusError when the bitext cannot be used or gives too few trees.
    """
    kind = task_kind(task)
    if task != "parse":
        raise RecipeError(f"A task model that can be adapted is a parser (parse); given: '{task}'.")
    final = Path(out)
    refuse_existing(final)
    if sentences < _LEAST_SENTENCES:
        raise RecipeError(f"--sentences is at least {_LEAST_SENTENCES}; given: {sentences}.")
    if not 0 < min_share <= 1:
        raise RecipeError(f"--min-share is above 0 and at most 1; given: {min_share}.")
    given = {**DEFAULTS, **(settings or {}), **more}
    if "seed" in given:
        raise RecipeError("The seed is no setting to be set among others; give it as --seed.")
    chosen, options = task_settings(kind, {**given, "seed": seed})
    if options != kind.options:
        raise RecipeError("An adapted parser keeps the layers of the one it was; only settings of training can be set.")
    tag = _tag(language)
    names, teachers = seed_folders(model), seed_folders(teacher)
    if len(teachers) not in (1, len(names)):
        raise RecipeError(f"'{teacher}' has {len(teachers)} seeds, '{model}' {len(names)}; give one teacher for all.")
    run: dict[str, Any] = {
        **environment(), "task": task, "model": str(model), "teacher": str(teacher), "language": tag,
        "inputs": digests(map(str, split_bitext(bitext))), "sentences": sentences, "min_share": min_share, "runs": [],
    }  # fmt: skip
    tell = on_progress or (lambda _stage, _share, _note: None)
    pairs = _pairs(bitext)
    linked = linked_pairs(pairs, tag, min_share, lambda share, note: tell("align", share, note))
    run["data"] = {"pairs": len(pairs), "linked": len(linked)}
    del pairs
    with replacing(final) as aside:
        aside.mkdir(parents=True)
        for number, name in enumerate(names):
            place = aside / Path(name).name if len(names) > 1 else aside
            settled = replace(chosen, seed=seed + number)
            english, parser = load_parser(teachers[number % len(teachers)]), load_parser(name)
            if set(english.labels) != set(parser.labels):
                raise ModelError(
                    f"'{teacher}' and '{model}' know different relations; the model has to be its teacher, swapped."
                )
            projection = project_trees(
                on_device(english), linked, sentences, settled.seed, min_share,
                lambda share, note: tell("project", share, note),
            )  # fmt: skip
            del english
            report = _trained(on_device(parser), projection, settled, tell)
            parser.save(place)
            write_conllu(projection.sentences, place / "projected.conllu")
            run["runs"].append(report)
        run["peak_memory_mb"] = peak_memory_mb()
        write_run(aside, run)
    return run


def _tag(language: str) -> str:
    try:
        (tag,) = read_languages(language)
    except ValueError:
        raise RecipeError(f"--language is the tag of one language, such as hi; given: '{language}'.") from None
    return tag


def _pairs(bitext: str) -> list[tuple[str, str]]:
    """Clean pairs; of a large bitext a sample."""
    counts = Counts()
    lines = (f"{english}\t{foreign}" for english, foreign in clean_pairs(read_bitext(bitext, counts), 10_000, counts))
    pairs = [line.partition("\t")[::2] for line in sample_lines(lines, _AT_MOST_BYTES)]
    if not pairs:
        raise CorpusError(f"No sentence pair is left of '{bitext}': all are empty or too long.")
    return pairs


def _trained(parser: Parser, projection: Projection, settings: FinetuneSettings, tell: OnProgress) -> dict[str, Any]:
    """Trains a parser in place; what run.json tells of it."""
    found = projection.sentences
    if len(found) < _LEAST_SENTENCES:
        raise CorpusError(
            f"The bitext gives {len(found)} trees, of {projection.parsed:,} pairs whose words are linked well; at "
            f"least {_LEAST_SENTENCES} are needed. Give more pairs, or a lower --min-share."
        )
    held_out = min(_MOST_HELD_OUT, round(_HELD_OUT * len(found)))
    training = ParsingTask(parser, found[held_out:], found[:held_out], partial=True)
    before = training.score(settings.precision)

    def show(progress: FinetuneProgress) -> None:
        scores = " ".join(f"held-out {name} {value:.3f}" for name, value in progress.dev.items())
        note = f"loss {progress.loss:.3f} {progress.examples_per_second:,.0f} sentences/s {scores}"
        tell("train", progress.step / progress.steps, note)

    report = train_task(training, settings, show)
    return {
        "parsed": projection.parsed, "projected": len(found), "words": projection.words,
        "attached": projection.attached, "held_out": held_out, "before": before, **report,
    }  # fmt: skip
