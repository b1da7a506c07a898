"""A task model under a new vocabulary: the same bytes everywhere else, the same answers where the words correspond."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy import sparse
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertForMaskedLM,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import lingraft
import tiny
from conftest import on_disk
from lingraft.errors import ModelError, OutputError, SelfCheckError, TableError
from lingraft.evidence import Provenance, TranslationTable
from lingraft.surgery import from_transformers, graft, load_model, save_model, with_rows
from lingraft.tasks import swap as swapping
from lingraft.tasks.swap import swap
from lingraft.vocabulary import tokenizer_hash

WORDS = "bert.embeddings.word_embeddings.weight"

CLASSES = {
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
    "question": AutoModelForQuestionAnswering,
}


def permuted(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    """A run's folder whose new language is English with its vocabulary permuted: so the truth is known."""
    order = np.random.default_rng(1).permutation(len(tokenizer)).tolist()
    pad = tokenizer.pad_token_id
    order[order.index(pad)], order[pad] = order[pad], pad
    foreign = tiny.renumbered(tokenizer, order)
    n = len(tokenizer)
    kinds = np.full(n, Provenance.bitext, np.uint8)
    for identifier in foreign.all_special_ids:
        kinds[identifier] = Provenance.special
    matrix = sparse.csr_matrix((np.ones(n, np.float32), (np.arange(n), order)), shape=(n, n))
    table = TranslationTable(matrix, kinds, np.ones(n, np.float32), tokenizer_hash(tokenizer), tokenizer_hash(foreign))
    source = from_transformers(model, tokenizer)
    folder.mkdir(parents=True)
    save_model(source, folder / "source")
    save_model(graft(source, foreign, table), folder / "target")
    table.save(folder / "table.npz")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = tiny.wordpiece_tokenizer()
    return permuted(tiny.bert(tokenizer), tokenizer, tmp_path_factory.mktemp("run") / "out")


def task_folder(run: Path, folder: Path, kind: str = "sequence", moved: float = 0.0) -> Path:
    """A task model with random head, as if fine-tuned from the run's English model."""
    torch.manual_seed(3)
    model = CLASSES[kind].from_pretrained(run / "source")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "word_embeddings" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.02)
        if moved:
            rows = model.get_input_embeddings().weight
            rows.add_(torch.randn_like(rows) * moved * rows.std())
    return on_disk(folder, model, AutoTokenizer.from_pretrained(run / "source"))


def logits(folder: Path, kind: str, line: str) -> torch.Tensor:
    model, tokenizer = CLASSES[kind].from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return model.eval()(**tokenizer(line, return_tensors="pt"))[0]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_swapped_folder_answers_the_same_in_the_new_vocabulary(kind, run, tmp_path):
    task = task_folder(run, tmp_path / "task", kind)
    result = swap(task, run / "target", tmp_path / "out")
    assert result.report == {"origin": "verified", "note": "", "drift": False, "encoder": 0}
    for line in tiny.english_lines(5, seed=9):
        assert torch.equal(logits(task, kind, line), logits(tmp_path / "out", kind, line))


def test_every_other_byte_is_kept(run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    (task / "notes.txt").write_text("mine", encoding="utf-8")
    (task / "extra").mkdir()
    (task / "extra" / "part.json").write_text("{}", encoding="utf-8")
    swap(task, run / "target", tmp_path / "out")
    before, after = load_file(task / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        same = tensor.numpy().tobytes() == after[name].numpy().tobytes()
        assert same == ("word_embeddings" not in name), name
    assert (tmp_path / "out" / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "out" / "extra" / "part.json").exists()
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    old = json.loads((task / "config.json").read_text(encoding="utf-8"))
    assert {key for key in config if config[key] != old.get(key)} <= {"pad_token_id", "bos_token_id", "eos_token_id"}
    assert config.keys() == old.keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "task"]


def test_the_english_model_in_the_new_languages_place_is_refused(run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    with pytest.raises(ModelError, match=r"it is the English model, and nothing would change\. Give the run's target"):
        swap(task, run / "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_models_the_other_way_round_are_told_apart(run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    with pytest.raises(ModelError, match="fine-tuned in English as --task-model and the new language's model"):
        swap(run / "target", task, tmp_path / "out")


def with_encoder_of_its_own(run: Path, folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The run with a target whose encoder was trained on, and what was added to each of its parameters."""
    shutil.copytree(run, folder)
    target = load_model(folder / "target", head=True)
    added = {}
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in target.model.base_model.named_parameters():
            if "word_embeddings" not in name and "LayerNorm" not in name:
                before = parameter.clone()
                parameter.add_(torch.randn_like(parameter) * 0.03)
                added[name] = parameter - before
    shutil.rmtree(folder / "target")
    save_model(target, folder / "target")
    return folder, added


def test_what_training_did_to_an_encoder_of_its_own_is_added_to_the_task_models(run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    made, added = with_encoder_of_its_own(run, tmp_path / "run")
    result = swap(task, made / "target", tmp_path / "out", source=made / "source")
    assert result.report["encoder"] == len(added) > 20
    before, after = load_file(task / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    for name, old in before.items():
        inner = name.removeprefix("bert.")
        if inner in added:
            torch.testing.assert_close(after[name], old + added[inner], rtol=0, atol=1e-6)
            assert not torch.equal(after[name], old)
        elif name != WORDS:
            assert torch.equal(after[name], old), name
    # the English model itself, given as an object, becomes the new language's
    source, target = (load_model(made / name, head=True) for name in ("source", "target"))
    ours = swap(source, target, source=source).model.model.state_dict()
    for name, tensor in target.model.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-6)


def test_without_the_english_model_the_encoder_stays_and_the_report_says_so(run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    made, _ = with_encoder_of_its_own(run, tmp_path / "run")
    shutil.rmtree(made / "source")
    result = swap(task, made / "target")
    assert result.report["encoder"] is None
    assert "whether the new language has an encoder of its own" in result.report["note"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_type_of_the_weights_is_kept(dtype, run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    model = BertForSequenceClassification.from_pretrained(task, dtype=dtype)
    model.save_pretrained(task)
    result = swap(task, run / "target", tmp_path / "out")
    assert result.report["origin"] == "verified"
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {dtype}


def test_a_masked_language_model_gets_output_rows_and_biases_too(run, tmp_path):
    result = swap(run / "source", run / "target", tmp_path / "out")
    assert isinstance(result.model, BertForMaskedLM)
    ours, theirs = load_file(tmp_path / "out" / "model.safetensors"), load_file(run / "target" / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_sentence_encoder_keeps_its_pipeline(sentence_model_folder, tmp_path):
    source = load_model(sentence_model_folder)
    made = permuted(source.model, source.tokenizer, tmp_path / "run")
    swap(sentence_model_folder, made / "target", tmp_path / "out", source=sentence_model_folder)
    ours = load_model(tmp_path / "out")
    assert ours.kind == "sentence"
    ids = [each.tokenizer("badi fogu", return_tensors="pt") for each in (source, ours)]
    with torch.inference_mode():
        before, after = (
            each.embed(given["input_ids"], given["attention_mask"])
            for each, given in zip((source, ours), ids, strict=True)
        )
    assert torch.equal(before, after)


def test_tensors_of_other_types_and_those_the_class_does_not_know_keep_their_bytes(run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    stored = load_file(task / "model.safetensors")
    mixed = {name: value.bfloat16() if "classifier" not in name else value for name, value in stored.items()}
    mixed["unheard.of"] = torch.arange(5.0) / 3
    save_file(mixed, task / "model.safetensors", metadata={"format": "pt", "mine": "kept"})
    swap(task, run / "target", tmp_path / "out")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert {name for name in mixed if not torch.equal(mixed[name], after[name])} == {WORDS}
    assert {name: value.dtype for name, value in after.items()} == {name: value.dtype for name, value in mixed.items()}
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        assert file.metadata()["mine"] == "kept"


def test_weights_in_several_files_stay_in_theirs(run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    model = BertForSequenceClassification.from_pretrained(task)
    (task / "model.safetensors").unlink()
    model.save_pretrained(task, max_shard_size="40KB")
    shards = sorted(path.name for path in task.glob("*.safetensors"))
    assert len(shards) > 1
    swap(task, run / "target", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")) == shards
    changed = [name for name in shards if (task / name).read_bytes() != (tmp_path / "out" / name).read_bytes()]
    assert len(changed) == 1


@pytest.mark.parametrize(("make", "kind"), [(tiny.roberta, "bytebpe"), (tiny.gpt2, "bytebpe")])
def test_classifiers_of_other_families_answer_the_same(make, kind, tmp_path):
    tokenizer = tiny.TOKENIZERS[kind]()
    made = permuted(make(tokenizer), tokenizer, tmp_path / "run")
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(made / "source", pad_token_id=tokenizer.pad_token_id)
    task = on_disk(tmp_path / "task", model, tokenizer)
    swap(task, made / "target", tmp_path / "out")
    for line in tiny.english_lines(3, seed=9):
        assert torch.equal(logits(task, "sequence", line), logits(tmp_path / "out", "sequence", line))


def test_a_decoder_whose_padding_was_its_end_is_padded_with_the_new_padding(tmp_path):
    tokenizer = tiny.bytebpe_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    model = tiny.gpt2(tokenizer)
    model.config.pad_token_id = tokenizer.eos_token_id
    target = tiny.bytebpe_tokenizer()  # where padding is a token of its own
    rows = {"input": model.get_input_embeddings().weight}
    swapped = with_rows(model, rows, tokenizer, target)
    assert swapped.config.pad_token_id == target.pad_token_id != target.eos_token_id
    assert swapped.config.eos_token_id == target.eos_token_id


def test_a_tokenizer_that_frames_texts_otherwise_is_told_of(run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    target = load_model(run / "target")
    bare = tiny.rebuilt(target.tokenizer, post_processor=None)
    report = swap(task, target.with_model(target.model, bare), tmp_path / "out", source=run / "source").report
    assert "surrounds texts otherwise" in report["note"]
    assert "before: cls:0 A:0 sep:0 B:0 sep:0" in report["note"]


def test_a_place_that_is_taken_is_refused_before_anything_is_done(run, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="is there already"):
        swap(tmp_path / "nowhere", run / "target", tmp_path / "out")


def test_an_object_is_written_where_a_place_is_given(run, tmp_path):
    swap(load_model(run / "source"), run / "target", tmp_path / "out")
    ours, theirs = (load_file(each / "model.safetensors") for each in (tmp_path / "out", run / "target"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("damage", ["model.safetensors", "config.json"])
def test_a_damaged_folder_is_refused(damage, run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    (task / damage).write_bytes(b"{ no")
    with pytest.raises(ModelError, match="could not be loaded"):
        swap(task, run / "target", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_in_other_forms_are_not_carried_along(run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    (task / "tf_model.h5").write_bytes(b"english")
    (task / "onnx").mkdir()
    (task / "onnx" / "model.onnx").write_bytes(b"english")
    swap(task, run / "target", tmp_path / "out")
    assert not (tmp_path / "out" / "tf_model.h5").exists()
    assert not (tmp_path / "out" / "onnx").exists()


def test_loaded_objects_are_left_as_they_are(run):
    english, target = load_model(run / "source"), load_model(run / "target")
    rows = english.model.get_input_embeddings().weight.clone()
    result = swap(english, target, source=load_model(run / "source"))
    assert torch.equal(english.model.get_input_embeddings().weight, rows)
    assert torch.equal(result.model.model.get_input_embeddings().weight, target.model.get_input_embeddings().weight)
    assert result.model.tokenizer is target.tokenizer


def test_embeddings_that_moved_are_reported(run, tmp_path):
    task = task_folder(run, tmp_path / "task", moved=0.1)
    report = swap(task, run / "target", tmp_path / "out").report
    assert report["origin"] == "moved"
    assert 0.98 < report["mean_cosine"] < 1
    assert "unfrozen" in report["note"]


def test_drift_is_carried_over_exactly_where_words_correspond_one_to_one(run, tmp_path):
    task = task_folder(run, tmp_path / "task", moved=0.1)
    swap(task, run / "target", tmp_path / "out", carry_drift=True)
    for line in tiny.english_lines(5, seed=9):
        torch.testing.assert_close(
            logits(task, "sequence", line), logits(tmp_path / "out", "sequence", line), atol=1e-5, rtol=1e-5
        )


def test_drift_needs_the_english_model_and_the_table(run, tmp_path):
    task = task_folder(run, tmp_path / "task", moved=0.1)
    target, source = load_model(run / "target"), load_model(run / "source")
    with pytest.raises(ModelError, match="--source-model"):
        swap(task, target, tmp_path / "out", carry_drift=True)
    with pytest.raises(ModelError, match="--table"):
        swap(task, target, tmp_path / "out", source=source, carry_drift=True)
    other = tiny.renumbered(tiny.wordpiece_tokenizer(), np.arange(300)[::-1].tolist())
    table = TranslationTable.load(run / "table.npz")
    wrong = TranslationTable(table.matrix, table.provenance, table.evidence, table.source_hash, tokenizer_hash(other))
    with pytest.raises(TableError, match="another target tokenizer"):
        swap(task, target, tmp_path / "out", source=source, table=wrong, carry_drift=True)
    assert not (tmp_path / "out").exists()


def test_without_the_english_model_the_origin_is_unknown_and_said_to_be(run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    report = swap(task, load_model(run / "target"), tmp_path / "out").report
    assert report["origin"] == "unknown"
    assert "--source-model" in report["note"]


def test_another_vocabulary_is_refused(run, tmp_path):
    tokenizer = tiny.wordpiece_tokenizer(250)
    task = on_disk(tmp_path / "task", tiny.bert(tokenizer), tokenizer)
    with pytest.raises(ModelError, match=r"vocabulary \(250 tokens\) is not that of the English model \(300 tokens\)"):
        swap(task, run / "target", tmp_path / "out")
    with pytest.raises(ModelError, match="250 tokens; the new language was grafted onto one of 300"):
        swap(task, load_model(run / "target"), tmp_path / "out", table=run / "table.npz")


def test_another_model_with_the_same_vocabulary_is_refused(run, tmp_path):
    tokenizer = tiny.wordpiece_tokenizer()
    task = on_disk(tmp_path / "task", tiny.bert(tokenizer, seed=9), tokenizer)
    with pytest.raises(ModelError, match="nothing to do with"):
        swap(task, run / "target", tmp_path / "out")


def test_another_width_and_another_family_are_refused(run, tmp_path):
    tokenizer = tiny.wordpiece_tokenizer()
    config = tiny.bert(tokenizer).config
    config.hidden_size = 64
    wide = on_disk(tmp_path / "wide", BertForMaskedLM(config), tokenizer)
    with pytest.raises(ModelError, match="64 dimensions and the new language's 32"):
        swap(wide, run / "target", tmp_path / "out")
    family = on_disk(tmp_path / "roberta", tiny.roberta(tokenizer), tokenizer)
    with pytest.raises(ModelError, match="is a roberta and the new language's model a bert"):
        swap(family, run / "target", tmp_path / "out")


def test_a_class_that_transformers_does_not_have_is_refused(run, tmp_path):
    task = task_folder(run, tmp_path / "task")
    config = json.loads((task / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["os"]
    (task / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="class os, which transformers does not have"):
        swap(task, run / "target", tmp_path / "out")


def test_a_body_that_changed_is_never_written(run, tmp_path, monkeypatch):
    task = task_folder(run, tmp_path / "task")

    def careless(model, *given):
        made = original(model, *given)
        with torch.no_grad():
            next(p for name, p in made.named_parameters() if "classifier" in name).add_(1)
        return made

    original = swapping.with_rows
    monkeypatch.setattr(swapping, "with_rows", careless)
    with pytest.raises(SelfCheckError, match="classifier"):
        swap(task, run / "target", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_transfer_wrote_fits_together(tmp_path, model_folder, bitext_file):
    out = tmp_path / "run"
    lingraft.transfer(model_folder, to="fr", out=out, bitext=bitext_file, objective="none")
    task = task_folder(out, tmp_path / "task")
    result = swap(task, out / "target", tmp_path / "swapped")
    assert result.report["origin"] == "verified"
    rows = load_model(out / "target").model.get_input_embeddings().weight
    assert torch.equal(result.model.get_input_embeddings().weight, rows)
