"""What is special about each task, in one table: how examples are read, models made, trained, loaded and scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..surgery import LanguageModel
from .intervals import Counts
from .loop import Task
from .nli import MAX_LENGTH, NliModel, NliTask, evaluate_nli, load_nli, new_nli_model
from .nli_data import read_nli
from .parsing import Parser, ParserSettings, ParsingTask, Sentence, build_parser, evaluate_parse, load_parser
from .parsing import read_conllu as read_treebank
from .settings import FinetuneSettings
from .tag_data import TaggedSentences, read_tags
from .tagging import TaggingModel, TaggingTask, evaluate_tagging, load_tagger, new_tagger

Evaluated = tuple[dict[str, Any], dict[str, Counts]]


@dataclass(frozen=True)
class TaskKind:
    """A task.

    read: the examples of a file. new: a fresh model on an encoder, for these training examples, with these settings and
    the task's own options. task: what the training loop trains, of model, training and dev examples. load: a model from
    its folder. evaluate: a model's result on examples in a ``precision`` and, for each of its scores, the counts it is
    a ratio of.
    defaults: settings that differ from those of `FinetuneSettings`. options: the task's own, with their defaults.
    in_languages: whether files may be in several languages, of which ``read`` takes one (``language``).
    """

    read: Callable[..., Any]
    new: Callable[[LanguageModel, Any, FinetuneSettings, Mapping[str, Any]], Any]
    task: Callable[[Any, Any, Any], Task]
    load: Callable[[str], Any]
    evaluate: Callable[..., Evaluated]
    defaults: Mapping[str, Any]
    options: Mapping[str, Any]
    in_languages: bool = False


def _new_nli(
    encoder: LanguageModel, _examples: Any, settings: FinetuneSettings, options: Mapping[str, Any]
) -> NliModel:
    return new_nli_model(encoder, options["max_length"], settings.seed)


def _new_tagger(
    encoder: LanguageModel, examples: TaggedSentences, settings: FinetuneSettings, _options: Mapping[str, Any]
) -> TaggingModel:
    return new_tagger(encoder, examples, settings.seed)


def _new_parser(
    encoder: LanguageModel, examples: Sequence[Sentence], settings: FinetuneSettings, options: Mapping[str, Any]
) -> Parser:
    return build_parser(encoder, examples, ParserSettings(**options), settings.seed)


KINDS: dict[str, TaskKind] = {
    "nli": TaskKind(read_nli, _new_nli, NliTask, load_nli, evaluate_nli, {}, {"max_length": MAX_LENGTH}, True),
    "parse": TaskKind(
        read_treebank, _new_parser, ParsingTask, load_parser, evaluate_parse,
        {"epochs": 10.0, "batch_size": 16, "learning_rate": 1e-4, "head_learning_rate": 2e-3, "evaluations": 10},
        asdict(ParserSettings()),
    ),
    "tag": TaskKind(
        lambda name: read_tags(Path(name)), _new_tagger, TaggingTask, load_tagger, evaluate_tagging,
        {"epochs": 3.0}, {},
    ),
}  # fmt: skip


def task_kind(name: str) -> TaskKind:
    """A task by its name; RecipeError for another."""
    if name not in KINDS:
        raise RecipeError(f"The tasks that can be trained are {', '.join(KINDS)}; given: '{name}'.")
    return KINDS[name]
