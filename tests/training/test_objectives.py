from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn import functional as F

import tiny
from lingraft.corpus import TokenSequences
from lingraft.errors import RecipeError
from lingraft.evidence import build_table, encode
from lingraft.recipe import TrainingRecipe
from lingraft.surgery import LanguageModel, from_transformers, graft, load_model, share_body
from lingraft.training import resolve_training, teacher, text_stream
from lingraft.training.data import pad
from lingraft.training.distillation import Distillation, framed
from lingraft.training.language_modelling import LanguageModelling, Side

CPU = torch.device("cpu")


def pair_of_models(language_model: LanguageModel) -> tuple[LanguageModel, LanguageModel]:
    """The model and a graft of it onto its own vocabulary, with one body."""
    table = build_table(language_model.tokenizer, language_model.tokenizer)
    target = graft(language_model, language_model.tokenizer, table)
    share_body(language_model.model, target.model)
    return language_model, target


def test_masked_step_depends_on_seed_and_step_alone(masked: LanguageModel):
    source, target = pair_of_models(masked)
    text = text_stream(source, encode(source.tokenizer, tiny.english_lines(60)))

    def loss(step: int, seed: int) -> float:
        objective = LanguageModelling(
            Side(source, text, 16), Side(target, text, 16), masked=True, batch_size=3, mask_rate=0.15, seed=seed,
            device=CPU,
        )  # fmt: skip
        return float(objective.loss(step, both=True)[1]["loss_xx"])

    assert loss(4, 1) == loss(4, 1)
    assert loss(4, 1) != loss(5, 1)
    assert loss(4, 1) != loss(4, 2)


@pytest.fixture
def encoder(sentence_model_folder) -> LanguageModel:
    return load_model(sentence_model_folder)


def padded_ids(text: TokenSequences, lines: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = pad([text[line] for line in lines], 0)
    return torch.from_numpy(ids), torch.from_numpy(mask)


def distillation(
    source: LanguageModel, target: LanguageModel, contrast: float, batch_size: int = 8, **more: Any
) -> Distillation:
    lines = tiny.english_lines(40)
    texts = [framed(model, encode(model.tokenizer, lines)) for model in (source, target)]
    return Distillation(
        source, target, *texts, batch_size=batch_size, contrast=contrast, temperature=0.05, seed=0, device=CPU, **more
    )


def test_distilling_a_model_into_itself_has_nothing_to_learn(encoder: LanguageModel):
    losses = distillation(encoder, encoder, contrast=0.0).loss(0, both=True)[1]
    assert float(losses["loss_xx"]) == pytest.approx(0, abs=1e-5)
    assert float(losses["loss_en"]) == pytest.approx(0, abs=1e-5)
    assert float(losses["cosine_xx"]) == pytest.approx(1, abs=1e-5)


def test_the_teacher_stays_where_it_was(encoder: LanguageModel):
    source, target = pair_of_models(encoder)
    objective = distillation(source, target, contrast=1.0)
    with torch.no_grad():
        for parameter in source.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    losses = objective.loss(0, both=True)[1]
    assert float(losses["loss_en"]) > 1e-4
    assert all(p.grad is None for p in objective._teacher.model.parameters())


def test_contrast_adds_the_cross_entropy_within_the_batch(encoder: LanguageModel):
    source, target = pair_of_models(encoder)
    plain = float(distillation(source, target, contrast=0.0).loss(0, both=False)[1]["loss_xx"])
    with_contrast = float(distillation(source, target, contrast=1.0).loss(0, both=False)[1]["loss_xx"])
    alone = float(distillation(source, target, contrast=1.0, batch_size=1).loss(0, both=False)[1]["loss_xx"])
    assert with_contrast > plain
    assert np.isfinite(alone)


def test_the_right_sentence_is_told_from_those_of_the_steps_before(encoder: LanguageModel):
    """By hand, for as many of them as there are yet, for a part of a step's and beyond the end of an epoch."""
    source, target = pair_of_models(encoder)
    with torch.no_grad():
        target.model.get_input_embeddings().weight[:60].neg_()
    plain = distillation(source, target, contrast=0.0)
    task = distillation(source, target, contrast=0.7, negatives=20)
    lines = [task._batches[step] for step in range(8)]
    english, foreign = (
        [model.embed(*padded_ids(task._texts[side], every)).detach() for every in lines]
        for side, model in (("en", source), ("xx", target))
    )  # fmt: skip
    for step in (0, 1, 2, 4, 7):
        numbers = np.concatenate([lines[step], *reversed(lines[:step])])
        once = np.sort(np.unique(numbers, return_index=True)[1])  # lines of the epoch before come again at step 7
        assert (once.size < numbers.size) == (step == 7)
        earlier = torch.cat([english[step], *reversed(english[:step])])[once][: lines[step].size + 20]
        told = foreign[step] @ earlier.T / 0.05
        wanted = -told.log_softmax(-1).diagonal().mean()
        losses = [each.loss(step, both=False)[1]["loss_xx"] for each in (task, plain)]
        assert float(losses[0] - losses[1]) == pytest.approx(0.7 * float(wanted), rel=1e-4)
        parts = [task.loss(step, False, part, 3)[1]["loss_xx"] for part in range(3)]
        assert float(sum(parts)) == pytest.approx(float(losses[0]), rel=1e-5)


def test_sentences_that_say_the_same_are_not_wrong(encoder: LanguageModel):
    source, target = pair_of_models(encoder)
    text = [framed(model, encode(model.tokenizer, tiny.english_lines(1) * 40)) for model in (source, target)]
    losses = [
        Distillation(
            source, target, *text, batch_size=8, contrast=contrast, temperature=0.05, seed=0, device=CPU, negatives=16
        ).loss(3, both=False)[1]["loss_xx"]
        for contrast in (0.0, 1.0)
    ]
    assert float(losses[1]) == pytest.approx(float(losses[0]), abs=1e-6)


def test_a_sentence_that_the_text_has_often_is_wrong_once(encoder: LanguageModel):
    source, target = pair_of_models(encoder)
    text = [framed(model, encode(model.tokenizer, tiny.english_lines(10) * 8)) for model in (source, target)]
    task = Distillation(
        source, target, *text, batch_size=8, contrast=1.0, temperature=0.05, seed=0, device=CPU, negatives=50
    )
    for step in (0, 3, 9, 25):
        sentences = task._negatives(step).sentences
        own, earlier = sentences[:8].tolist(), sentences[8:].tolist()
        assert len(set(earlier)) == len(earlier) <= 9
        assert not set(own) & set(earlier)


def test_a_resumed_run_knows_the_sentences_before(encoder: LanguageModel):
    source, target = pair_of_models(encoder)
    table = sparse.csr_matrix(build_table(source.tokenizer, target.tokenizer).matrix)
    for more in ({}, {"token_weight": 1.0, "table": table}):
        first, later = (distillation(source, target, 1.0, negatives=20, **more) for _ in range(2))
        losses = [float(first.loss(step, both=False)[0].detach()) for step in range(9)]
        assert [float(later.loss(step, both=False)[0].detach()) for step in range(7, 9)] == losses[7:]
        assert set(first._negatives._known) == {5, 6, 7, 8}


def test_batches_of_long_sentences_are_run_in_smaller_parts(encoder: LanguageModel):
    source, target = pair_of_models(encoder)
    whole, limited = (distillation(source, target, 1.0, **more) for more in ({}, {"tokens_at_once": 60}))
    for step in range(5):
        longest = max(len(limited._texts[side][line]) for side in ("en", "xx") for line in limited._batches[step])
        assert limited.at_once(step) == 60 // longest
        assert whole.at_once(step) is None
    assert distillation(source, target, 1.0, tokens_at_once=1).at_once(0) == 1


def test_framed_cuts_to_the_limit_and_keeps_the_special_tokens(masked: LanguageModel):
    limit = masked.max_length
    text = framed(masked, TokenSequences.from_lists([[20] * (limit + 50), [], [21]]))
    cls, sep = masked.tokenizer.cls_token_id, masked.tokenizer.sep_token_id
    assert text.lengths.tolist() == [limit, 2, 3]
    assert all(text[k][0] == cls and text[k][-1] == sep for k in range(3))


def test_roberta_positions_leave_room_for_padding():
    tokenizer = tiny.bytebpe_tokenizer()
    model = from_transformers(tiny.roberta(tokenizer), tokenizer)
    text = framed(model, TokenSequences.from_lists([[20] * 200]))
    ids = torch.from_numpy(text[0].astype(np.int64))[None]
    with torch.inference_mode():
        assert model.embed(ids, torch.ones_like(ids)).isfinite().all()


def test_tokens_are_pulled_to_what_they_correspond_to(encoder: LanguageModel):
    """By hand: for each foreign token the mean of the teacher's states under the table, compared by cosine."""
    source, target = pair_of_models(encoder)
    random = np.random.default_rng(0)
    size = len(source.tokenizer)
    table = sparse.csr_matrix(sparse.random(size, size, 0.2, "csr", np.float32, random))
    lines = tiny.english_lines(12, seed=5)
    others = tiny.english_lines(12, seed=6)
    texts = [framed(source, encode(source.tokenizer, lines)), framed(target, encode(target.tokenizer, others))]

    def task(weight: float) -> Distillation:
        return Distillation(
            source, target, *texts, batch_size=4, contrast=0.0, temperature=0.05, seed=0, device=CPU,
            token_weight=weight, table=table,
        )  # fmt: skip

    with_tokens = task(2.0)
    loss, losses = with_tokens.loss(0, both=False)
    plain, _ = task(0.0).loss(0, both=False)
    special = set(target.tokenizer.all_special_ids)
    means = []
    for line in with_tokens._batches[0]:
        ours, theirs = (torch.from_numpy(text[line].astype(np.int64)) for text in texts)
        with torch.no_grad():
            teacher = source.model.base_model(input_ids=ours[None]).last_hidden_state[0]
            student = target.model.base_model(input_ids=theirs[None]).last_hidden_state[0]
        apart = []
        for place, token in enumerate(theirs.tolist()):
            weights = torch.tensor([table[token, other] for other in ours.tolist()])
            if token not in special and weights.sum() > 0:
                wanted = (weights / weights.sum()) @ teacher
                apart.append(2 * (1 - float(F.cosine_similarity(student[place], wanted, dim=0))))
        means.append(np.mean(apart) if apart else 0.0)
    assert float(losses["tokens_xx"]) == pytest.approx(np.mean(means), abs=1e-5)
    assert float(loss.detach()) == pytest.approx(float(plain.detach()) + 2 * np.mean(means), abs=1e-4)


@pytest.mark.parametrize(
    ("objective", "key", "value", "names"),
    [
        ("distill", "translation_weight", 1.0, "'mlm'"),
        ("mlm", "token_weight", 1.0, "'distill'"),
        ("distill", "evaluations", 3, "'mlm' and 'clm'"),
        ("none", "evaluations", 3, "'mlm' and 'clm'"),
        ("none", "encoder", "own", "'distill'"),
        ("mlm", "encoder", "own", "'distill'"),
    ],
)
def test_keys_of_other_objectives_are_refused(objective, key, value, names):
    told = f"training.{key}={value} is for the objectives? {names}; this run has '{objective}'"
    with pytest.raises(RecipeError, match=told):
        resolve_training(TrainingRecipe(objective=objective, **{key: value}), "sentence")


def test_an_encoder_of_its_own_brings_its_own_defaults():
    own = resolve_training(TrainingRecipe(), "sentence")
    shared = resolve_training(TrainingRecipe(encoder="shared"), "sentence")
    moved = resolve_training(TrainingRecipe(encoder="shared", embeddings_share=0.5), "sentence")
    assert (own.encoder, own.embeddings_share, own.learning_rate, own.leaves_english) == ("own", 0.0, 1e-4, True)
    assert (shared.embeddings_share, shared.learning_rate, shared.leaves_english) == (1.0, 2e-5, True)
    assert not moved.leaves_english


def test_the_teacher_is_asked_once_a_sentence_and_answers_the_same_after_a_resumption(
    encoder: LanguageModel, monkeypatch: pytest.MonkeyPatch
):
    source, target = pair_of_models(encoder)
    asked: list[np.ndarray] = []

    def watched() -> Distillation:
        objective = distillation(source, target, contrast=1.0)
        english = objective._english_of

        def counted(lines: np.ndarray) -> list[np.ndarray]:
            asked.append(lines)
            return english(lines)

        monkeypatch.setattr(objective, "_english_of", counted)
        return objective

    objective = watched()
    steps = 2 * objective._batches.per_epoch
    losses = [float(objective.loss(step, both=False)[0].detach()) for step in range(steps)]
    assert sorted(np.concatenate(asked)) == list(range(40))
    first, second = (sum(objective.tokens(k, False) for k in part) for part in np.split(np.arange(steps), 2))
    foreign = int(objective._texts["xx"].lengths.sum())
    assert (first, second) == (foreign + int(objective._texts["en"].lengths.sum()), foreign)
    operations = [sum(objective.flop(k, False) for k in part) for part in np.split(np.arange(steps), 2)]
    assert operations[0] / operations[1] == pytest.approx((first + foreign) / (2 * foreign))
    later = watched()
    assert [float(later.loss(step, both=False)[0].detach()) for step in range(steps // 2, steps)] == losses[
        steps // 2 :
    ]


def test_segmentations_of_a_step_are_the_same_in_any_parts_and_other_ones_than_before(encoder: LanguageModel):
    """Each line is read in pieces that spell it; what a step runs through the encoder is counted with them."""
    source, target = pair_of_models(encoder)
    plain, sampled, again = (distillation(source, target, 1.0, subword_regularization=rate) for rate in (0.0, 0.5, 0.5))
    per_epoch = plain._batches.per_epoch
    lengths = []
    for step in (0, per_epoch, 2 * per_epoch - 1):
        whole = float(sampled.loss(step, both=False)[0].detach())
        parts = [float(again.loss(step, False, part, 3)[0].detach()) for part in reversed(range(3))]
        assert sum(parts) == pytest.approx(whole, abs=1e-5)
        assert whole != pytest.approx(float(plain.loss(step, both=False)[0].detach()), abs=1e-5)
        lengths.append(sampled.tokens(step, False) - plain.tokens(step, False))
    assert min(lengths) > 5
    line = sampled._batches[0][0]
    seen = {tuple(sampled._foreign_of(0)[0])}
    for step in range(per_epoch, 8 * per_epoch):
        seen |= {tuple(sampled._foreign_of(step)[k]) for k in np.flatnonzero(sampled._batches[step] == line)}
    assert len(seen) > 4


def test_embeddings_that_take_too_much_memory_are_not_kept(encoder: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    source, target = pair_of_models(encoder)
    kept = distillation(source, target, contrast=1.0)
    wanted = [float(kept.loss(step, both=False)[0].detach()) for step in range(10)]
    monkeypatch.setattr(teacher, "_MOST_BYTES", 100)
    found = distillation(source, target, contrast=1.0)
    assert [float(found.loss(step, both=False)[0].detach()) for step in range(10)] == pytest.approx(wanted, rel=1e-5)
    assert not found._taught.repeats(9)
    assert found._taught._kept is None
