"""From a recipe and models to a trainer: defaults by objective, the data, and which parameters train when.

A new language's model, text, sentence pairs or table may be given as it is, where there is one new language, or as a
mapping by language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ..corpus import TokenSequences, TokenStream
from ..errors import RecipeError
from ..evidence import TranslationTable, encode
from ..processes import processes
from ..recipe import ONLY, TrainingRecipe, budget_seconds
from ..surgery import LanguageModel, share_body, vocabulary_parameters
from .activations import checkpoint_activations
from .attention import choose_kernel, use_kernel
from .distillation import Distillation, framed, untouched
from .language_modelling import LanguageModelling, Side
from .loop import Trainer
from .objectives import Objective, Together, by_language, draws
from .parallel import OneProcess, share_out
from .precision import default_device, resolve_precision
from .schedule import Groups, Schedule
from .translation import TranslationModelling

#: what the recipe leaves open, by objective
DEFAULTS: dict[str, dict[str, float | int | str]] = {
    "distill": {
        "batch_size": 64, "encoder": "own", "embedding_learning_rate": 3e-3, "subword_regularization": 0.1,
    },
    "mlm": {
        "batch_size": 16, "encoder": "shared", "embeddings_share": 0.3, "learning_rate": 1e-4,
        "embedding_learning_rate": 1e-3, "subword_regularization": 0.0,
    },
    "clm": {
        "batch_size": 8, "encoder": "shared", "embeddings_share": 0.3, "learning_rate": 5e-5,
        "embedding_learning_rate": 5e-4, "subword_regularization": 0.0,
    },
}  # fmt: skip

#: what it leaves open for the objective ``distill``, by whose the encoder is
_DISTILL: dict[str, dict[str, float]] = {
    "own": {"embeddings_share": 0.0, "learning_rate": 1e-4},
    "shared": {"embeddings_share": 1.0, "learning_rate": 2e-5},
}

DEFAULT_STEPS = 2000

#: the objectives that a kind of model can be trained with
_FITTING = {
    "sentence": ("auto", "none", "distill", "mlm"),
    "masked": ("auto", "none", "mlm", "distill"),
    "causal": ("auto", "none", "clm", "distill"),
}

T = TypeVar("T")

#: sentence pairs, English first
Pairs = Sequence[tuple[str, str]]

_HEAD_LEARNING_RATE = 1e-3

#: tokens that a forward pass on a CPU has at most, those of all its languages together, where the recipe does not say:
#: more are no faster there, and the activations of BERT-base take about 0.8 MB a token
_CPU_TOKENS = 4096

#: longer sentences of a bitext are cut
_LONGEST_SENTENCE = 128


def natural_objective(kind: str) -> str:
    """The objective that fits a kind of model best."""
    return {"sentence": "distill", "masked": "mlm", "causal": "clm"}[kind]


def resolve_training(recipe: TrainingRecipe, kind: str) -> TrainingRecipe:
    """The recipe with everything decided that it leaves to lingraft: objective, length, sizes, rates, precision.

    kind: of the source model (masked, causal, sentence). Raises RecipeError for keys that belong to another objective.
    """
    objective = natural_objective(kind) if recipe.objective == "auto" else recipe.objective
    values: dict[str, object] = {"objective": objective}
    for key, everywhere, fitting in (
        ("translation_weight", (0,), ("mlm",)), ("token_weight", (0,), ("distill",)),
        ("evaluations", (1,), ("mlm", "clm")), ("encoder", (None, "shared"), ("distill",)),
        ("subword_regularization", (None, 0), ("distill",)), ("replicas", (1,), ("distill",)),
    ):  # fmt: skip
        value = getattr(recipe, key)
        if value not in everywhere and objective not in fitting:
            names = " and ".join(f"'{name}'" for name in fitting)
            raise RecipeError(
                f"training.{key}={value} is for the objective{'s' * (len(fitting) > 1)} {names}; "
                f"this run has '{objective}'."
            )
    if objective == "none":
        return recipe.model_copy(update=values)
    defaults = dict(DEFAULTS[objective])
    if objective == "distill":
        defaults |= _DISTILL[recipe.encoder or str(defaults["encoder"])]
    values |= {name: value for name, value in defaults.items() if getattr(recipe, name) is None}
    if (recipe.steps, recipe.tokens, recipe.budget) == (None, None, None):
        values["steps"] = DEFAULT_STEPS
    values["precision"] = resolve_precision(recipe.precision, default_device(), scaled=True)
    return recipe.model_copy(update=values)


def _decided(value: T | None) -> T:
    if value is None:
        raise ValueError("the recipe leaves open what a trainer needs; resolve_training decides it")
    return value


def _prefix(language: str) -> str:
    return "target" if language == ONLY else f"target.{language}"


def _new_vocabulary(targets: Mapping[str, LanguageModel]) -> dict[str, Tensor]:
    return {
        f"{_prefix(language)}.{name}": p
        for language, target in targets.items() for name, p in vocabulary_parameters(target.model).items()
    }  # fmt: skip


def _own_groups(source: LanguageModel, targets: Mapping[str, LanguageModel]) -> Groups:
    """Each new language trains an encoder of its own, and nothing of English trains."""
    source.model.requires_grad_(False)
    new = _new_vocabulary(targets)
    vocabulary = {id(p) for p in new.values()}
    bodies: dict[str, Tensor] = {
        f"{_prefix(language)}.body.{name}": p
        for language, target in targets.items() for name, p in target.model.base_model.named_parameters()
        if id(p) not in vocabulary
    }  # fmt: skip
    return Groups(new, {}, bodies)


def _groups(source: LanguageModel, targets: Mapping[str, LanguageModel], fresh_head: bool) -> Groups:
    new = _new_vocabulary(targets)
    english: dict[str, Tensor] = {f"source.{name}": p for name, p in vocabulary_parameters(source.model).items()}
    theirs = {id(p) for p in english.values()}
    inside = {id(p) for p in source.model.base_model.parameters()}
    head: dict[str, Tensor] = {}
    body: dict[str, Tensor] = {}
    for name, parameter in source.model.named_parameters():
        if id(parameter) not in theirs:
            group = head if fresh_head and id(parameter) not in inside else body
            group[f"body.{name}"] = parameter
    if fresh_head:  # the output biases belong to the head that is warmed up
        head |= {key: group.pop(key) for group in (new, english) for key in list(group) if key.endswith(".bias")}
    return Groups(new, english, body, head)


def language_model_trainer(
    source: LanguageModel, target: LanguageModel | Mapping[str, LanguageModel], english: TokenStream,
    foreign: TokenStream | Mapping[str, TokenStream], recipe: TrainingRecipe, seed: int, folder: Path,
    fresh_head: bool = False, pairs: Pairs | Mapping[str, Pairs] = (),
) -> Trainer:  # fmt: skip
    """Objectives ``mlm`` and ``clm`` on text of all languages (`text_stream`); the recipe must be resolved.

    source, english: the English model and its text. target, foreign: the new language's, or several by their tags.
    seed: of blocks and masks. folder: of the checkpoints. fresh_head: the head is new and is warmed up first. pairs:
    sentence pairs, English first, for translation language modelling, where the recipe gives it a weight.
    """
    device = default_device()
    targets, texts = by_language(target), by_language(foreign)
    if fresh_head:
        for model, text in ((source, english), *((targets[name], texts[name]) for name in targets)):
            _start_bias(model, text)
    apart = recipe.documents == "apart"
    _share(source, targets, recipe, device)
    parallel = share_out(processes(), recipe.parallel, device, _decided(recipe.batch_size))
    source, targets = parallel.models(source, targets)
    length = recipe.sequence_length
    objective: Objective = LanguageModelling(
        Side(source, english, length), {name: Side(targets[name], texts[name], length) for name in targets},
        masked=recipe.objective == "mlm", batch_size=_decided(recipe.batch_size), mask_rate=recipe.mask_rate, seed=seed,
        device=device, mask_scheme=recipe.mask_scheme, apart=apart,
    )  # fmt: skip
    if recipe.translation_weight:
        translations = _translations(source, targets, by_language(pairs), recipe, seed, device)
        objective = Together([(1.0, objective), *((recipe.translation_weight, each) for each in translations)])
    return _trainer(objective, source, targets, recipe, device, folder, fresh_head, parallel)


def _translations(
    source: LanguageModel, targets: Mapping[str, LanguageModel], pairs: Mapping[str, Pairs], recipe: TrainingRecipe,
    seed: int, device: torch.device,
) -> list[TranslationModelling]:  # fmt: skip
    """Translation language modelling of English with each of the languages."""
    return [
        TranslationModelling(
            source, target, *_sentences(source, target, pairs[name]), batch_size=_decided(recipe.batch_size),
            mask_rate=recipe.mask_rate, seed=seed + draws(number), device=device, mask_scheme=recipe.mask_scheme,
            name=name, languages=len(targets),
        )
        for number, (name, target) in enumerate(targets.items())
    ]  # fmt: skip


def check_objective(objective: str, source: LanguageModel) -> None:
    """Raises RecipeError if the source model is of a kind that cannot be trained with the objective."""
    fitting = _FITTING[source.kind]
    if objective not in fitting:
        raise RecipeError(
            f"Objective '{objective}' does not fit a {source.kind} model; for it there are {', '.join(fitting)}."
        )
    if objective == "mlm" and source.tokenizer.mask_token_id is None:
        raise RecipeError("Objective 'mlm' needs a mask token, and the source model's tokenizer names none.")


def _start_bias(language_model: LanguageModel, text: TokenStream) -> None:
    """Sets a fresh output bias to the log frequencies of the tokens, the best answer before anything is learned."""
    bias = vocabulary_parameters(language_model.model).get("bias")
    if bias is not None:
        counts = torch.ones(bias.numel())
        counts[: text.counts.size] += torch.from_numpy(text.counts)
        with torch.no_grad():
            bias.copy_((counts / counts.mean()).log())


def distillation_trainer(
    source: LanguageModel, target: LanguageModel | Mapping[str, LanguageModel], pairs: Pairs | Mapping[str, Pairs],
    recipe: TrainingRecipe, seed: int, folder: Path,
    table: TranslationTable | Mapping[str, TranslationTable] | None = None,
) -> Trainer:  # fmt: skip
    """Objective ``distill`` on sentence pairs, English first; the recipe must be resolved.

    With ``training.encoder: own`` the models come with a body each, and English is left as it is; else they share one.

    source, target: the English model, and the new language's or several by their tags. seed: of the order of the pairs.
    folder: of the checkpoints. table: for the pull on single tokens, where the recipe gives it a weight. Several
    languages each have a batch of their own and weigh 1: a frozen body then learns each vocabulary as a run of its own
    would.
    """
    device = default_device()
    targets, bitexts = by_language(target), by_language(pairs)
    tables = {} if table is None else by_language(table)
    _share(source, targets, recipe, device)
    parallel = share_out(processes(), recipe.parallel, device, _decided(recipe.batch_size))
    source, targets = parallel.models(source, targets)
    teacher = untouched(source)
    hold = recipe.encoder != "own"
    at_once = _tokens_at_once(recipe, device, len(targets) * (2 if hold else 1))
    objectives = [
        Distillation(
            source, model, *_sentences(source, model, bitexts[name]), batch_size=_decided(recipe.batch_size),
            contrast=recipe.contrast, negatives=recipe.negatives, temperature=recipe.temperature,
            seed=seed + draws(number), device=device,
            token_weight=recipe.token_weight, table=tables[name].matrix if name in tables else None, name=name,
            teacher=teacher, languages=len(targets), hold=hold,
            subword_regularization=_decided(recipe.subword_regularization),
            tokens_at_once=at_once,
        )
        for number, (name, model) in enumerate(targets.items())
    ]  # fmt: skip
    objective: Objective = objectives[0] if len(objectives) == 1 else Together([(1.0, each) for each in objectives])
    return _trainer(objective, source, targets, recipe, device, folder, False, parallel)


def _sentences(source: LanguageModel, target: LanguageModel, pairs: Pairs) -> tuple[TokenSequences, TokenSequences]:
    """Both sides of the pairs as the models read them, special tokens around."""

    def side(model: LanguageModel, number: int) -> TokenSequences:
        short = replace(model, max_length=min(model.max_length, _LONGEST_SENTENCE))
        return framed(short, encode(model.tokenizer, [pair[number] for pair in pairs]))

    return side(source, 0), side(target, 1)


def _share(
    source: LanguageModel, targets: Mapping[str, LanguageModel], recipe: TrainingRecipe, device: torch.device
) -> None:
    """Puts all models on the device, under the kernel that suits and, unless each trains its own, under one body."""
    kernel = choose_kernel(
        source.model, device, resolve_precision(recipe.precision, device), recipe.documents == "apart"
    )
    for model in (source, *targets.values()):
        use_kernel(model.model, kernel)
        model.model.to(device)  # type: ignore[arg-type]
        for module in model.pooling:
            module.to(device)
    if recipe.encoder != "own":
        for target in targets.values():
            share_body(source.model, target.model)


def _tokens_at_once(recipe: TrainingRecipe, device: torch.device, texts: int) -> int | None:
    """Tokens of each text that one forward pass holds, where the recipe leaves it open; None: of the whole batch.

    texts: how many a pass is of.
    """
    return None if device.type != "cpu" or recipe.micro_batch else max(1, _CPU_TOKENS // texts)


def _micro_batch(recipe: TrainingRecipe, device: torch.device, languages: int) -> int | None:
    """Examples of each language a forward pass; None: the whole batch, or what the objective says at each step.

    languages: how many there are, English counted.
    """
    tokens = _tokens_at_once(recipe, device, languages)
    if tokens is None or recipe.objective == "distill":
        return recipe.micro_batch
    return max(1, tokens // recipe.sequence_length)


def head_trainer(model: LanguageModel, text: TokenStream, recipe: TrainingRecipe, seed: int, folder: Path) -> Trainer:
    """Warms up a fresh head alone, over all steps of the recipe, on text of the model's own language; it is resolved.

    seed: of blocks and masks. folder: of the checkpoints.

    The output bias, which belongs to the head, starts at the log frequencies of the text's tokens.
    """
    device = default_device()
    _start_bias(model, text)
    _share(model, {}, recipe, device)
    side = Side(model, text, recipe.sequence_length)
    objective = LanguageModelling(  # two batches of the one language
        side, side, masked=True, batch_size=_decided(recipe.batch_size), mask_rate=recipe.mask_rate, seed=seed,
        device=device, mask_scheme=recipe.mask_scheme, apart=recipe.documents == "apart",
    )  # fmt: skip
    head = _groups(model, {}, True).head
    model.model.requires_grad_(False)
    schedule = _schedule(recipe.model_copy(update={"embeddings_share": 0.0}), device, False, 2)
    precision = resolve_precision(recipe.precision, device, scaled=True)
    return Trainer(objective, Groups({}, {}, {}, head), schedule, precision, device, folder)


def _schedule(recipe: TrainingRecipe, device: torch.device, fresh_head: bool, languages: int) -> Schedule:
    """languages: how many there are, English counted."""
    return Schedule(
        steps=recipe.steps, tokens=recipe.tokens, seconds=budget_seconds(recipe.budget) if recipe.budget else None,
        head_steps=recipe.head_steps if fresh_head else 0, embeddings_share=_decided(recipe.embeddings_share),
        warmup_share=recipe.warmup_share, learning_rate=_decided(recipe.learning_rate),
        embedding_learning_rate=_decided(recipe.embedding_learning_rate), head_learning_rate=_HEAD_LEARNING_RATE,
        weight_decay=recipe.weight_decay, checkpoint_seconds=recipe.checkpoint_seconds,
        batch_size=_decided(recipe.batch_size),
        micro_batch=_micro_batch(recipe, device, languages),
        checkpoints_kept=recipe.checkpoints_kept, max_rollbacks=recipe.max_rollbacks, decay=recipe.decay,
        clip=recipe.clip, evaluations=recipe.evaluations,
    )  # fmt: skip


def _trainer(
    objective: Objective, source: LanguageModel, targets: Mapping[str, LanguageModel], recipe: TrainingRecipe,
    device: torch.device, folder: Path, fresh_head: bool, parallel: OneProcess,
) -> Trainer:  # fmt: skip
    if recipe.checkpoint_activations:
        for model in (source, *targets.values()):
            checkpoint_activations(model.model)
    precision = resolve_precision(recipe.precision, device, scaled=True)
    parallel.attach(objective)  # which may put other parameters in the place of the models'
    groups = _own_groups(source, targets) if recipe.encoder == "own" else _groups(source, targets, fresh_head)
    schedule = _schedule(recipe, device, fresh_head, 1 + len(targets))
    return Trainer(objective, groups, schedule, precision, device, folder, parallel=parallel)
