"""Training with several new languages: one body, one pass, and what each language has of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_encoder import MASKED, gradients, make, same

import tiny
from lingraft.evidence import build_table, encode
from lingraft.recipe import TrainingRecipe
from lingraft.surgery import LanguageModel, from_transformers, graft, load_model, share_body, vocabulary_parameters
from lingraft.training import (
    distillation_trainer,
    framed,
    language_model_trainer,
    resolve_training,
    text_stream,
)
from lingraft.training.distillation import Distillation, untouched
from lingraft.training.language_modelling import LanguageModelling, Side
from lingraft.training.objectives import Together
from lingraft.training.translation import TranslationModelling

CPU = torch.device("cpu")
LINES = {"en": tiny.english_lines(60), "fr": tiny.english_lines(60, seed=1), "hi": tiny.english_lines(60, seed=2)}


def models(source: LanguageModel, shift: float = 0.01) -> dict[str, LanguageModel]:
    """The model as English and two grafts of it with other embeddings each, all with one body."""
    found = {"en": source}
    for number, language in enumerate(("fr", "hi")):
        found[language] = graft(source, source.tokenizer, build_table(source.tokenizer, source.tokenizer))
        found[language].model.to(source.model.dtype)
        share_body(source.model, found[language].model)
        with torch.no_grad():
            found[language].model.get_input_embeddings().weight.add_(shift * (1 + number))
    return found


def of_family(family: str) -> dict[str, LanguageModel]:
    tokenizer = tiny.wordpiece_tokenizer() if family in MASKED else tiny.bytebpe_tokenizer()
    return models(from_transformers(make(family, len(tokenizer)), tokenizer))


def sides(found: dict[str, LanguageModel]) -> dict[str, Side]:
    return {
        name: Side(model, text_stream(model, encode(model.tokenizer, LINES[name])), 16) for name, model in found.items()
    }


def modelling(found: dict[str, LanguageModel], names: tuple[str, ...] = ("fr", "hi"), **how: bool) -> LanguageModelling:
    made = sides(found)
    return LanguageModelling(
        made["en"], {name: made[name] for name in names}, masked=found["en"].kind == "masked", batch_size=4,
        mask_rate=0.2, seed=1, device=CPU, **how,
    )  # fmt: skip


def cleared(found: dict[str, LanguageModel]) -> None:
    for model in found.values():
        model.model.zero_grad()


def all_gradients(found: dict[str, LanguageModel]) -> list[torch.Tensor]:
    return gradients(*(model.model for model in found.values()))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "albert", "modernbert", "gpt2", "llama"])
@pytest.mark.parametrize("both", [True, False])
def test_one_pass_over_all_languages_is_a_pass_for_each(family: str, both: bool):
    found = of_family(family)
    seen = []
    for how in ({}, {"one_pass": False, "whole_last_layer": True}):
        cleared(found)
        loss, losses = modelling(found, **how).loss(2, both)
        loss.backward()
        assert list(losses) == ["loss_fr", "loss_hi", *(["loss_en"] if both else [])]
        torch.testing.assert_close(loss, torch.stack(list(losses.values())).sum())
        seen.append((loss.detach(), all_gradients(found)))
    torch.testing.assert_close(seen[0][0], seen[1][0], rtol=1e-12, atol=1e-12)
    same(seen[0][1], seen[1][1])


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_gradient_is_the_sum_of_those_of_runs_with_one_language(family: str):
    """English and the first language draw what they draw in a run without the second."""
    found = of_family(family)
    task = modelling(found)
    task.loss(3, False)[0].backward()
    together = all_gradients(found)
    cleared(found)
    modelling(found, ("fr",)).loss(3, False)[0].backward()
    made = sides(found)
    second = LanguageModelling(
        made["en"], made["hi"], masked=found["en"].kind == "masked", batch_size=4, mask_rate=0.2, seed=1, device=CPU
    )
    second._foreign, second._draws = {"hi": made["hi"]}, {"hi": 2, "en": 1}
    second._sides = second._foreign | {"en": made["en"]}
    second._special |= {"hi": second._special["xx"]}
    second.loss(3, False)[0].backward()
    same(all_gradients(found), together)
    one, several = modelling(found, ("fr",)).loss(5, True)[1], task.loss(5, True)[1]
    assert {name: float(several[name]) for name in one} == pytest.approx(
        {name: float(value) for name, value in one.items()}, rel=1e-12
    )


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("parts", [3, 4, 9])
def test_micro_batches_add_up_to_the_batch(family: str, parts: int):
    found = of_family(family)
    task = modelling(found, apart=family == "bert")
    loss, losses = task.loss(3, True)
    loss.backward()
    whole = all_gradients(found)
    cleared(found)
    summed = dict.fromkeys(losses, 0.0)
    for part in range(parts):
        share, named = task.loss(3, True, part, parts)
        if share.requires_grad:
            share.backward()
        for name, value in named.items():
            summed[name] += float(value)
    assert summed == pytest.approx({name: float(value) for name, value in losses.items()}, rel=1e-10)
    same(all_gradients(found), whole)


def test_a_copy_of_a_language_reads_the_same_text_in_another_order():
    found = of_family("bert")
    side = sides(found)["fr"]
    n = side.blocks.n_blocks
    task = LanguageModelling(
        sides(found)["en"], {"fr": side, "hi": side}, masked=True, batch_size=n, mask_rate=0.2, seed=1, device=CPU
    )
    rows = {name: blocks.tolist() for name, (blocks, _) in task._batch(0, False).items()}
    assert rows["fr"] != rows["hi"]
    assert sorted(rows["fr"]) == sorted(rows["hi"])
    losses = task.loss(0, False)[1]
    assert float(losses["loss_fr"]) == pytest.approx(float(losses["loss_hi"]), rel=0.05)


def test_tokens_are_those_of_all_languages(masked: LanguageModel):
    task = modelling(models(masked))
    assert (task.tokens(0, True), task.tokens(0, False)) == (3 * 4 * 16, 2 * 4 * 16)
    one = modelling(models(masked), ("fr",))
    assert task.flop(0, True) / task.tokens(0, True) == pytest.approx(one.flop(0, True) / one.tokens(0, True))
    assert len(task.module) == 3


def distillations(found: dict[str, LanguageModel], weight: float = 1.0) -> Together:
    teacher = untouched(found["en"])
    english = framed(found["en"], encode(found["en"].tokenizer, LINES["en"]))
    return Together(
        [
            (weight, Distillation(
                found["en"], found[name], english, framed(found[name], encode(found[name].tokenizer, LINES[name])),
                batch_size=8, contrast=1.0, temperature=0.05, seed=0, device=CPU, name=name, teacher=teacher,
                languages=2,
            ))
            for name in ("fr", "hi")
        ]
    )  # fmt: skip


@pytest.fixture
def encoders(sentence_model_folder: Path) -> dict[str, LanguageModel]:
    return models(load_model(sentence_model_folder))


def test_distillations_add_up_and_english_is_their_mean(encoders: dict[str, LanguageModel]):
    with torch.no_grad():
        encoders["en"].model.get_input_embeddings().weight[:20].neg_()
    task = distillations(encoders)
    assert list(task.module) == [encoders[name].model for name in ("en", "fr", "hi")]
    with torch.no_grad():
        encoders["en"].model.get_input_embeddings().weight.mul_(1.5)
    parts = [objective for _, objective in task._weighted]
    loss, losses = task.loss(1, True)
    each = [objective.loss(1, True) for objective in parts]
    torch.testing.assert_close(loss, each[0][0] + each[1][0])
    assert sorted(losses) == ["cosine_fr", "cosine_hi", "loss_en", "loss_fr", "loss_hi"]
    assert float(losses["loss_en"]) == pytest.approx(sum(float(named["loss_en"]) for _, named in each))
    assert float(losses["loss_en"]) > 1e-4
    for name, (_, named) in zip(("fr", "hi"), each, strict=True):
        assert float(losses[f"loss_{name}"]) == float(named[f"loss_{name}"])


def test_a_frozen_body_is_distilled_into_as_by_runs_of_their_own(encoders: dict[str, LanguageModel]):
    task = distillations(encoders)
    task.loss(0, False)[0].backward()
    together = [vocabulary_parameters(encoders[name].model)["input"].grad.clone() for name in ("fr", "hi")]
    cleared(encoders)
    for objective in (objective for _, objective in task._weighted):
        objective.loss(0, False)[0].backward()
    for name, wanted in zip(("fr", "hi"), together, strict=True):
        torch.testing.assert_close(vocabulary_parameters(encoders[name].model)["input"].grad, wanted)


def recipe(objective: str, kind: str, **keys: object) -> TrainingRecipe:
    return resolve_training(
        TrainingRecipe(objective=objective, batch_size=2, sequence_length=16, checkpoint_seconds=0, **keys), kind
    )


@pytest.mark.parametrize("fresh_head", [False, True])
def test_all_vocabularies_train_in_every_stage(tmp_path: Path, masked: LanguageModel, fresh_head: bool):
    found = models(masked)
    pairs = {name: list(zip(LINES["en"], LINES[name], strict=True)) for name in ("fr", "hi")}
    streams = {name: text_stream(model, encode(model.tokenizer, LINES[name])) for name, model in found.items()}
    targets = {name: found[name] for name in ("fr", "hi")}
    trainer = language_model_trainer(
        found["en"], targets, streams.pop("en"), streams,
        recipe("mlm", "masked", steps=6, head_steps=1, embeddings_share=0.5, translation_weight=0.5), 0, tmp_path,
        fresh_head, pairs,
    )  # fmt: skip
    groups = trainer._groups
    for name in targets:
        assert f"target.{name}.input" in groups.new_vocabulary
    assert {name.split(".")[0] for name in groups.new_vocabulary} == {"target"}
    assert len({id(p) for p in groups.everything().values()}) == len(groups.everything())
    every = {id(p) for model in found.values() for p in model.model.parameters()}
    assert {id(p) for p in groups.everything().values()} == every
    before = {name: vocabulary_parameters(model.model)["input"].detach().clone() for name, model in found.items()}
    seen = {}

    def look(line):
        seen[line.step] = (
            line.stage,
            {
                name: not torch.equal(before[name], vocabulary_parameters(model.model)["input"])
                for name, model in found.items()
            },
        )

    report = trainer.run(look)
    assert {"loss_fr", "loss_hi", "loss_en", "tlm_fr", "tlm_hi", "tlm_en"} <= set(report["history"][-1])
    embeddings = [moved for stage, moved in seen.values() if stage == "embeddings"]
    assert embeddings[-1] == {"en": False, "fr": True, "hi": True}
    assert seen[6] == ("all", {"en": True, "fr": True, "hi": True})


@pytest.mark.parametrize("token_weight", [0.0, 0.5])
def test_distillation_of_several_has_a_loss_for_each(
    tmp_path: Path, encoders: dict[str, LanguageModel], token_weight: float
):
    targets = {name: encoders[name] for name in ("fr", "hi")}
    pairs = {name: list(zip(LINES["en"], LINES[name], strict=True)) for name in targets}
    tables = {name: build_table(encoders["en"].tokenizer, model.tokenizer) for name, model in targets.items()}
    report = distillation_trainer(
        encoders["en"], targets, pairs,
        recipe("distill", "sentence", steps=3, encoder="shared", embeddings_share=0.4, token_weight=token_weight), 0,
        tmp_path, tables,
    ).run()  # fmt: skip
    names = {"loss_fr", "loss_hi", "cosine_fr", "cosine_hi", "loss_en"}
    names |= {"tokens_fr", "tokens_hi"} if token_weight else set()
    last = {name for name in report["history"][-1] if name not in ("step", "stage", "seconds", "learning_rate")}
    assert last == names
    assert np.isfinite([report["history"][-1][name] for name in names]).all()


def test_the_shared_english_loss_of_translation_modelling_is_the_mean(masked: LanguageModel):
    found = models(masked)
    text = {name: framed(model, encode(model.tokenizer, LINES[name])) for name, model in found.items()}

    def task(languages: int) -> TranslationModelling:
        return TranslationModelling(
            found["en"], found["fr"], text["en"], text["fr"], batch_size=4, mask_rate=0.3, seed=3, device=CPU,
            name="fr", languages=languages,
        )  # fmt: skip

    alone, shared = task(1).loss(0, True), task(2).loss(0, True)
    torch.testing.assert_close(alone[0], shared[0])
    assert sorted(shared[1]) == ["tlm_en", "tlm_fr"]
    assert float(shared[1]["tlm_en"]) == pytest.approx(float(alone[1]["tlm_en"]) / 2)
