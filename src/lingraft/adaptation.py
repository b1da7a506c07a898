"""A swapped task model taught what the English one says of the English side of a bitext, from files to a folder.

OUT/                   the adapted model, or with several seeds OUT/seed-0, ...
OUT/projected.conllu   the trees in part it was trained on (in every seed's folder where there are several)
OUT/run.json           how it was made: inputs, counts, the scores on held-out trees before and after
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from .cache import refuse_existing, replacing
from .corpus import Counts, clean_pairs, read_bitext, sample_lines, split_bitext
from .errors import CorpusError, ModelError, RecipeError
from .report import environment, peak_memory_mb, write_run
from .sections import read_languages
from .taskruns import OnProgress, digests, on_device, seed_folders, seeded_settings
from .tasks.kinds import task_kind
from .tasks.loop import FinetuneProgress, train_task
from .tasks.parsing import Parser, ParsingTask, load_parser, write_conllu
from .tasks.parsing.projection import (
    DOUBT,
    LONGEST,
    MIN_SHARE,
    PLAIN,
    SHORTEST,
    TREES,
    LinkedBitext,
    Projection,
    linked_pairs,
    project_trees,
)
from .tasks.settings import FinetuneSettings

#: of a larger bitext so much is aligned, a sample spread over all of it; it bounds memory and time
AT_MOST_BYTES = 64_000_000
#: trees without which nothing is trained: the held-out tenth of fewer would choose by chance
LEAST_SENTENCES = 50
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
    bitext: str | PathLike[str],
    language: str,
    out: str | Path,
    sentences: int = TREES,
    min_share: float = MIN_SHARE,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Trains a parser that was swapped into a language on English trees projected over a bitext.

    task: parse. model: the swapped parser. teacher: the English one it was made from. Either may be a folder with
    several seeds; as many teachers as models, by the same names, or one for all. bitext: sentence pairs, English first,
    of which a sample of 64 MB is used where there are more; pairs count that have 6 to 40 words on both sides, most of
    the English ones made of letters. language: tag of the other side, by which words are cut and trees reshaped. out:
    folder of the result. sentences: projected trees wanted, of which a tenth (300 at most) is held out to choose the
    state by. min_share: of a sentence's words that must get a head, in (0, 1]. settings, more: fields of
    `FinetuneSettings`, with the defaults epochs 1, batch_size 8, learning_rate 1e-4, head_learning_rate 5e-4,
    evaluations 4, train_embeddings true. Returns the content of ``out/run.json``. on_progress: called with the stage,
    the share of it that is done (0 to 1) and a note for people.

    No treebank of the language is read. Raises RecipeError for impossible options, ModelError when the models are no
    parsers with the same relations, CorpusError when the bitext cannot be used or gives too few trees.
    """
    if task != "parse":
        raise RecipeError(f"A task model that can be adapted is a parser (parse); given: '{task}'.")
    final = Path(out)
    refuse_existing(final)
    if sentences < LEAST_SENTENCES:
        raise RecipeError(f"--sentences is at least {LEAST_SENTENCES}; given: {sentences}.")
    if not 0 < min_share <= 1:
        raise RecipeError(f"--min-share is above 0 and at most 1; given: {min_share}.")
    kind = replace(task_kind(task), options={})
    chosen, _ = seeded_settings(kind, {**DEFAULTS, **(settings or {}), **more}, seed)
    tag = _tag(language)
    folders = _folders(model, teacher)
    notes = _check(folders)
    tell = on_progress or (lambda _stage, _share, _note: None)
    counts = Counts()
    pairs = _pairs(fspath(bitext), counts)
    linked = linked_pairs(pairs, tag, min_share, lambda share, note: tell("align", share, note))
    run: dict[str, Any] = {
        **environment(), "task": task, "model": str(model), "teacher": str(teacher), "language": tag, "notes": notes,
        "inputs": digests(map(str, split_bitext(fspath(bitext)))), "sentences": sentences, "min_share": min_share,
        "conventions": linked.conventions != PLAIN, "doubt": DOUBT._asdict(),
        "data": {
            **counts.as_dict(), "aligned": len(pairs), "of_length": linked.of_length, "linked": len(linked.pairs),
        },
        "runs": [],
    }  # fmt: skip
    del pairs
    with replacing(final) as aside:
        aside.mkdir(parents=True)
        for number, (name, english) in enumerate(folders):
            place = aside / Path(name).name if len(folders) > 1 else aside
            settled = replace(chosen, seed=seed + number)
            projection = project_trees(
                on_device(load_parser(english)), linked, sentences, settled.seed, min_share, settled.precision,
                lambda share, note: tell("project", share, note),
            )  # fmt: skip
            if len(projection.sentences) < LEAST_SENTENCES:
                raise CorpusError(_too_few(run["data"], linked, projection))
            parser = on_device(load_parser(name))
            run["runs"].append(_trained(parser, projection, settled, tell))
            parser.save(place)
            write_conllu(projection.sentences, place / "projected.conllu")
        run["peak_memory_mb"] = peak_memory_mb()
        write_run(aside, run)
    return run


def _tag(language: str) -> str:
    try:
        (tag,) = read_languages(language)
    except ValueError:
        raise RecipeError(f"--language is the tag of one language, such as hi; given: '{language}'.") from None
    return tag


def _folders(model: str | Path, teacher: str | Path) -> list[tuple[str, str]]:
    """Every model with its teacher."""
    names, teachers = seed_folders(model), seed_folders(teacher)
    if len(teachers) == 1:
        return [(name, teachers[0]) for name in names]
    if [Path(name).name for name in names] != [Path(name).name for name in teachers]:
        raise RecipeError(
            f"'{teacher}' has the seeds {_listed(teachers)}, '{model}' {_listed(names)}; give one teacher for all, or "
            "the same seeds."
        )
    return list(zip(names, teachers, strict=True))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(Path(name).name for name in names)


def _check(folders: Sequence[tuple[str, str]]) -> list[str]:
    """Refuses, before anything that takes long, models that are no pupil and teacher; notes for people."""
    notes = []
    for name, teacher in folders:
        parser, english = load_parser(name), load_parser(teacher)
        if set(english.labels) != set(parser.labels):
            raise ModelError(
                f"'{teacher}' and '{name}' know different relations; the model has to be its teacher, swapped."
            )
        if parser.tokenizer.get_vocab() == english.tokenizer.get_vocab():
            notes.append(
                f"'{name}' has the vocabulary of its teacher. That is right for a multilingual parser alone; else give "
                "as --model what lingraft swap made of it."
            )
    return list(dict.fromkeys(notes))


def _pairs(bitext: str, counts: Counts) -> list[tuple[str, str]]:
    """Clean pairs; of a large bitext a sample. counts: what became of its lines is added to it."""
    lines = (f"{english}\t{foreign}" for english, foreign in clean_pairs(read_bitext(bitext, counts), 10_000, counts))
    pairs = [line.partition("\t")[::2] for line in sample_lines(lines, AT_MOST_BYTES)]
    if not pairs:
        raise CorpusError(f"No sentence pair is left of '{bitext}': all are empty or too long.")
    return pairs


def _too_few(data: Mapping[str, Any], linked: LinkedBitext, projection: Projection) -> str:
    told = (
        f"{len(projection.sentences)} trees were found, and at least {LEAST_SENTENCES} are needed. Of "
        f"{data['aligned']:,} sentence pairs {linked.of_length:,} have {SHORTEST} to {LONGEST} words on both sides and "
        f"English made of words; of these {len(linked.pairs):,} are linked well enough. "
    )
    if linked.of_length < 2 * LEAST_SENTENCES:
        return told + "Give whole sentences, not words or titles."
    return told + "Give more pairs, or a lower --min-share."


def _trained(parser: Parser, projection: Projection, settings: FinetuneSettings, tell: OnProgress) -> dict[str, Any]:
    """Trains a parser in place; what run.json tells of it."""
    found = projection.sentences
    held_out = min(_MOST_HELD_OUT, round(_HELD_OUT * len(found)))
    training = ParsingTask(parser, found[held_out:], found[:held_out], partial=True, doubt=DOUBT)
    before = training.score(settings.precision)

    def show(progress: FinetuneProgress) -> None:
        tell("train", progress.step / progress.steps, progress.note("sentences", "held-out"))

    report = train_task(training, settings, show)
    return {
        "parsed": projection.parsed, "projected": len(found), "words": projection.words,
        "attached": projection.attached, "held_out": held_out, "before": before, **report,
    }  # fmt: skip
