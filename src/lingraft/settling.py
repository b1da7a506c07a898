"""A recipe as it was asked for becomes one that can be run: paths, evidence, and what is refused before any work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import texts
from .corpus import absolute_hub, is_hub, split_bitext
from .errors import RecipeError
from .evidence import BUILTIN, builtin_languages, has_builtin
from .recipe import TRAIN, Recipe, TrainingRecipe, each
from .surgery import LanguageModel, resolve_model
from .training import check_activations, check_objective, check_trackers, natural_objective, resolve_training


def absolute(recipe: Recipe) -> Recipe:
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

    def bitexts(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(bitext(name) for name in names)

    def lexicons(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name if name == BUILTIN else file(name) for name in names)

    def vectors(name: str) -> str:
        return name if name == TRAIN else ",".join(file(part.strip()) for part in name.split(","))

    c, tokenizer, held_out = recipe.corpus, recipe.vocabulary.tokenizer, recipe.evaluation.bitext
    moved = recipe.model_copy(
        update={
            "source": model(recipe.source),
            "corpus": c.model_copy(update={"source_text": text(c.source_text)}),
        }
    )
    return moved.with_given(
        {
            "corpus.text": each(c.text, text),
            "vocabulary.tokenizer": each(tokenizer, model) if tokenizer else None,
            "evidence.bitext": each(recipe.evidence.bitext, bitexts),
            "evidence.lexicon": each(recipe.evidence.lexicon, lexicons),
            "evidence.vectors": each(recipe.evidence.vectors, vectors) if recipe.evidence.vectors else None,
            "evaluation.bitext": each(held_out, bitext) if held_out else None,
        }
    )


def with_evidence(recipe: Recipe) -> Recipe:
    """The recipe with evidence for the languages that are given none: the package's own lexicon, else vectors.

    RecipeError where there is neither such a lexicon nor text to train word vectors on.
    """
    lexicon: dict[str, tuple[str, ...]] = {}
    vectors: dict[str, str] = {}
    for language in recipe.languages:
        given = recipe.given(language)
        lexicon[language], vectors[language] = given.lexicon, given.vectors or ""
        if given.bitext or given.lexicon or given.vectors:
            continue
        if has_builtin(language):
            lexicon[language] = (BUILTIN,)
        elif given.text and recipe.corpus.source_text:
            vectors[language] = TRAIN
        else:
            option = f"{language}=" if recipe.several else ""
            raise RecipeError(
                f"No evidence for {language}: nothing says how its words correspond to English ones. Give sentence "
                f"pairs (--bitext {option}FILE), a dictionary (--lexicon {option}FILE), word vectors (--vectors "
                f"{option}EN.vec,XX.vec), or text of both languages (--text, --source-text) to train word vectors on. "
                f"A lexicon comes with the package for {', '.join(builtin_languages())}."
            )
    own = {language: names for language, names in lexicon.items() if names}
    trained = {language: name for language, name in vectors.items() if name}
    if not recipe.several:
        only = recipe.languages[0]
        return recipe.with_given({"evidence.lexicon": own.get(only, ()), "evidence.vectors": trained.get(only)})
    return recipe.with_given({"evidence.lexicon": own or (), "evidence.vectors": trained or None})


def unused_lexicons(recipe: Recipe) -> list[str]:
    """For each language with other evidence whose lexicon in the package is not used, a note that there is one."""
    return [
        f"the package has a lexicon of {language}: --lexicon builtin adds it to the evidence"
        for language in recipe.languages
        for given in [recipe.given(language)]
        if has_builtin(language) and BUILTIN not in given.lexicon
        if given.bitext or given.lexicon or given.vectors
    ]


def check_inputs(recipe: Recipe) -> None:
    """Raises InputError for everything that can be seen to be wrong before any work is done."""
    for language in recipe.languages:
        texts.input_texts(recipe, language)
        texts.evidence_files(recipe, language)
        given = recipe.given(language)
        if not (given.text or given.bitext or given.lexicon or given.tokenizer):
            raise RecipeError(
                f"The vocabulary of {language} is learnt from text, and there is none: give --text or --bitext, or a "
                "finished tokenizer with --tokenizer."
            )
        both = given.bitext or (given.text and recipe.corpus.source_text)
        if given.vectors == TRAIN and not both:
            raise RecipeError(
                f"Word vectors of {language} can be trained where there is text of both languages: give --text and "
                "--source-text, or a --bitext."
            )
    texts.shared_texts(recipe)
    check_trackers(recipe.training.track)
    resolve_model(recipe.source, allow_pickle=recipe.allow_pickle)


def settle_training(recipe: Recipe, source: LanguageModel) -> tuple[TrainingRecipe, str | None]:
    """The training with everything decided that the recipe leaves open, and a note where there will be none.

    RecipeError for an objective that the source model cannot be trained with, or whose text is missing.
    """
    objective, note = _objective(recipe, source)
    training = recipe.training.model_copy(update={"objective": objective})
    check_objective(objective, source)
    if training.checkpoint_activations:
        check_activations(source.model)
    return resolve_training(training, source.kind), note


def _objective(recipe: Recipe, source: LanguageModel) -> tuple[str, str | None]:
    """The objective, settled where there is nothing to train on: ``none``, and a line about it.

    RecipeError where training was asked for and its text is missing.
    """
    training = recipe.training
    wanted = natural_objective(source.kind) if training.objective == "auto" else training.objective
    if wanted == "none":
        return wanted, None
    given = {language: recipe.given(language) for language in recipe.languages}
    pairs = training.translation_weight or wanted == "distill"
    without = [tag for tag, own in given.items() if not own.bitext and (pairs or not own.text)]
    english = recipe.corpus.source_text or any(own.bitext for own in given.values())
    if without:
        missing = f"sentence pairs (--bitext){'' if pairs else ' or text (--text)'} of {', '.join(without)}"
    elif not english and wanted != "distill":
        missing = "English text (--source-text)"
    else:
        return wanted, None
    nothing = not any(own.bitext or own.text for own in given.values())
    asked = training.objective != "auto" or any((training.steps, training.tokens, training.budget))
    if asked or not (nothing or wanted == "distill"):
        raise RecipeError(
            f"Training with objective '{wanted}' needs {missing}, and none is given. Give some, or leave the graft "
            "as it is: --objective none."
        )
    return "none", f"no training: objective '{wanted}' needs {missing}"
