"""The options of commands that take a whole run: declared once, and made a recipe of in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ..errors import RecipeError
from .common import AllowPickle, BitextOption, LexiconOption, TextOption, VectorsOption

if TYPE_CHECKING:
    from ..recipe import Recipe


@dataclass(frozen=True)
class RunOptions:
    """What says of a run where it starts, from what and how; see `lingraft.transfer`."""

    model: Annotated[str | None, typer.Argument(help="A model folder or a Hugging Face id.")] = None
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="BCP 47 tag of the new language: fr, zh, zh-Hant. Of several with commas between (fr,hi); each "
            "--bitext, --lexicon, --vectors, --text, --tokenizer and --eval-bitext is then LANG=FILE.",
        ),
    ] = None
    out: Annotated[Path | None, typer.Option("--out", help="The run's folder.")] = None
    bitext: BitextOption = field(default_factory=list)
    lexicon: LexiconOption = field(default_factory=list)
    vectors: VectorsOption = field(default_factory=list)
    text: TextOption = field(default_factory=list)
    source_text: Annotated[list[str], typer.Option("--source-text", help="English text, likewise.")] = field(
        default_factory=list
    )
    eval_bitext: Annotated[
        list[str], typer.Option("--eval-bitext", help="Held-out sentence pairs for the retrieval score.")
    ] = field(default_factory=list)
    tokenizer: Annotated[list[str], typer.Option("--tokenizer", help="Use this tokenizer instead of training one.")] = (
        field(default_factory=list)
    )
    vocab_size: Annotated[int | None, typer.Option("--vocab-size", help="Tokens of a new vocabulary.")] = None
    objective: Annotated[str | None, typer.Option("--objective", help="auto, mlm, distill, clm or none.")] = None
    steps: Annotated[int | None, typer.Option("--steps", help="Train for so many steps.")] = None
    tokens: Annotated[int | None, typer.Option("--tokens", help="Train on so many tokens.")] = None
    budget: Annotated[str | None, typer.Option("--budget", help="Train for so long: 90m, 1h30m, 45s.")] = None
    track: Annotated[
        list[str], typer.Option("--track", help="Send the meter's lines to jsonl, tensorboard or wandb as well.")
    ] = field(default_factory=list)
    allow_pickle: AllowPickle = False
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.", min=0)] = None
    recipe: Annotated[Path | None, typer.Option("--recipe", help="A YAML recipe; options override its keys.")] = None
    settings: Annotated[
        list[str], typer.Option("--set", help="KEY=VALUE of any recipe key, as in training.batch_size=32.")
    ] = field(default_factory=list)

    def checked(self, usage: str) -> Recipe:
        """The recipe of these options. usage: how the command is written, for who leaves out model or language."""
        from ..recipe import build_recipe, put, read_recipe_file, set_key
        from .languages import by_language, languages_of

        values: dict[str, Any] = read_recipe_file(self.recipe) if self.recipe else {}
        if self.to is not None:
            values["language"] = self.to
        languages = languages_of(values, self.settings)
        for key, value in {
            "source": self.model,
            "allow_pickle": self.allow_pickle or None,
            "evidence.bitext": by_language("--bitext", self.bitext, languages),
            "evidence.lexicon": by_language("--lexicon", self.lexicon, languages),
            "evidence.vectors": by_language("--vectors", self.vectors, languages, once=True),
            "corpus.text": by_language("--text", self.text, languages),
            "corpus.source_text": self.source_text or None,
            "evaluation.bitext": by_language("--eval-bitext", self.eval_bitext, languages, once=True),
            "vocabulary.tokenizer": by_language("--tokenizer", self.tokenizer, languages, once=True),
            "vocabulary.size": self.vocab_size,
            "training.objective": self.objective,
            "training.steps": self.steps,
            "training.tokens": self.tokens,
            "training.budget": self.budget,
            "training.track": self.track or None,
            "seed": self.seed,
        }.items():
            if value is not None:
                put(values, key, value)
        for assignment in self.settings:
            set_key(values, assignment)
        if "source" not in values or "language" not in values:
            raise RecipeError(f"{usage.split()[1].capitalize()} needs a model and a language: {usage}.")
        return build_recipe(values)


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Has a command that takes ``options: RunOptions`` first show and take each of its fields as an option."""
    hints = get_type_hints(RunOptions, include_extras=True)
    own = get_type_hints(command, include_extras=True)

    def parameter(name: str, default: Any, annotation: Any) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)

    parameters = [
        # typer copies what it finds as a default
        parameter(each.name, [] if each.default_factory is list else each.default, hints[each.name])
        for each in fields(RunOptions)
    ]
    _, *others = inspect.signature(command).parameters.values()
    parameters += [parameter(each.name, each.default, own[each.name]) for each in others]

    @wraps(command)
    def called(**given: Any) -> None:
        options = RunOptions(**{each.name: given.pop(each.name) for each in fields(RunOptions)})
        command(options, **given)

    setattr(called, "__signature__", inspect.Signature(parameters))  # noqa: B010 (mypy knows no such attribute)
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    del called.__wrapped__
    return called
