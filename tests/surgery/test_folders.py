"""What lies in a model folder: pickles only when asked for, types kept, parts found whatever the config leaves out."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

import families
import tiny
from conftest import on_disk
from lingraft.errors import ModelError, SelfCheckError
from lingraft.evidence import build_table
from lingraft.surgery import (
    LanguageModel,
    check_tokenizer_class,
    from_transformers,
    graft,
    load_model,
    load_tokenizer,
    save_model,
    save_tokenizer,
    self_check,
    train_target,
    with_masked_lm_head,
)
from lingraft.surgery.folders import stored_weights
from lingraft.vocabulary import train_tokenizer

LINES = [xx for _, xx in tiny.cipher_pairs(100)]


def pickled(folder: Path) -> None:
    """Makes a folder's weights a pickle, in place."""
    for path in [*folder.glob("model.safetensors"), *folder.glob("*/model.safetensors")]:
        torch.save(load_file(path), path.with_name("pytorch_model.bin"))
        path.unlink()


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the small BERT's folder."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def test_a_pickle_is_read_when_asked_for(folder: Path, tmp_path: Path) -> None:
    before = load_model(folder)
    pickled(folder)
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is a pickle.*--allow-pickle"):
        load_model(folder)
    read = load_model(folder, allow_pickle=True)
    assert (read.kind, read.stored_dtype) == ("masked", torch.float32)
    assert all(torch.equal(value, read.model.state_dict()[name]) for name, value in before.model.state_dict().items())
    save_model(read, tmp_path / "out")
    assert load_model(tmp_path / "out").has_head


def test_a_sentence_encoder_of_pickles_is_written_without_any(folder: Path, tmp_path: Path) -> None:
    encoder = families.sentence_folder(tmp_path / "encoder", load_model(folder))
    before = SentenceTransformer(str(encoder), device="cpu").encode(LINES[:3])
    dense = next(encoder.glob("*Dense/model.safetensors"))
    torch.save(load_file(dense), dense.with_name("pytorch_model.bin"))
    dense.unlink()
    with pytest.raises(ModelError, match=r"weights in '2_Dense/pytorch_model\.bin', which is a pickle"):
        load_model(encoder)
    pickled(encoder)
    read = load_model(encoder, allow_pickle=True)
    save_model(read, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.bin"))
    self_check(read, tmp_path / "out", LINES[:2])
    after = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(LINES[:3])
    torch.testing.assert_close(torch.from_numpy(after), torch.from_numpy(before))


class Touch:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return _touch, (str(self.path),)


def _touch(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize("zipped", [False, True])
def test_no_code_in_a_pickle_is_run(folder: Path, tmp_path: Path, zipped: bool) -> None:
    (folder / "model.safetensors").unlink()
    content = {"bert.embeddings.word_embeddings.weight": Touch(tmp_path / "ran")}
    if zipped:
        torch.save(content, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(content))
    with pytest.raises(ModelError, match="could not be loaded as a model"):
        load_model(folder, allow_pickle=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_type_of_a_checkpoint_is_kept_whatever_it_was_in_memory(dtype: torch.dtype, tmp_path: Path) -> None:
    tokenizer = tiny.bytefallback_tokenizer()
    model = tiny.llama(tokenizer)
    for parameter in model.parameters():
        parameter.data = parameter.to(dtype)
    folder = on_disk(tmp_path / "model", model, tokenizer)
    source = load_model(folder)
    assert (source.model.dtype, source.stored_dtype) == (torch.float32, dtype)
    target = train_tokenizer(tokenizer, LINES)
    grafted = graft(source, target, build_table(tokenizer, target))
    with torch.no_grad():  # as training would
        grafted.model.lm_head.weight.add_(1e-5)
    buffers = {name: value.clone() for name, value in grafted.model.named_buffers()}
    save_model(grafted, tmp_path / "out")
    assert grafted.model.dtype == torch.float32
    assert all(torch.equal(value, buffers[name]) for name, value in grafted.model.named_buffers())
    assert self_check(grafted, tmp_path / "out", LINES[:2])["max_difference"] < 1e-6
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {dtype}
    assert json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["dtype"] == str(dtype)[6:]
    norm = "model.norm.weight"
    assert torch.equal(stored[norm], load_file(folder / "model.safetensors")[norm])


def test_the_type_is_that_of_most_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    mixed = {name: value.half() if value.ndim > 1 else value for name, value in weights.items()}
    save_file(mixed, folder / "model.safetensors", {"format": "pt"})
    stored = stored_weights(folder)
    assert (stored.dtype, stored.names) == (torch.float16, frozenset(mixed))


def test_weights_in_several_files_are_read_and_checked(masked: LanguageModel, tmp_path: Path) -> None:
    save_model(masked, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    masked.model.save_pretrained(tmp_path / "model", max_shard_size="40KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    assert self_check(masked, tmp_path / "model", LINES[:2])["max_difference"] == 0
    assert load_model(tmp_path / "model").has_head


@pytest.mark.parametrize(("head", "family"), [(True, "BERT"), (False, "BERT"), (True, "GPT-2")])
def test_a_config_need_not_name_the_architecture(head: bool, family: str, tmp_path: Path) -> None:
    cell = families.Cell(family if head else "BERT, no head", families.FAMILIES[family].kinds[0], "bytebpe", True)
    source, *_ = families.made(cell)
    save_model(source, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({key: value for key, value in config.items() if key != "architectures"}))
    read = load_model(tmp_path / "model")
    assert (read.kind, read.has_head) == (source.kind, head)
    assert type(read.model) is type(source.model)


def test_the_original_head_of_deberta_is_found_though_the_config_says_nothing_of_it(tmp_path: Path) -> None:
    source, *_ = families.made(families.Cell("DeBERTa v3", "unigram", "unigram", True))
    save_model(source, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    assert config.pop("legacy") is False
    path.write_text(json.dumps(config))
    read = load_model(tmp_path / "model")
    names = source.model.state_dict()
    assert all(torch.equal(read.model.state_dict()[name], value) for name, value in names.items())


def test_a_discriminator_keeps_its_head_and_can_get_another() -> None:
    source, tokenizer, table = families.made(families.Cell("ELECTRA discriminator", "wordpiece", "unigram", True))
    grafted = graft(source, tokenizer, table)
    assert not grafted.has_head
    line = torch.tensor([tokenizer(LINES[0]).input_ids])
    with torch.inference_mode():
        assert grafted.model(line).logits.shape == line.shape
        assert with_masked_lm_head(grafted.model)(line).logits.shape == (*line.shape, len(tokenizer))


def test_a_tokenizer_that_transformers_reads_otherwise_beside_the_model_is_refused() -> None:
    source, *_ = families.made(families.Cell("Qwen2", "chat", "chat", True))
    check_tokenizer_class(source.model, train_tokenizer(source.tokenizer, LINES))
    for kind in families.KINDS:
        with pytest.raises(ModelError, match="Beside a qwen2 model transformers reads this tokenizer as"):
            check_tokenizer_class(source.model, tiny.TOKENIZERS[kind]())


@pytest.mark.parametrize(("family", "tokens"), [("Qwen2", 4), ("Qwen3", 1)])
def test_words_keep_their_vowel_signs_where_transformers_reads_the_tokenizer_so(family: str, tokens: int) -> None:
    source, *_ = families.made(families.Cell(family, "chat", "chat", True))
    target = train_target(source.model.config, source.tokenizer, ["हिन्दी"] * 10)
    check_tokenizer_class(source.model, target)
    assert len(target("हिन्दी").input_ids) == tokens


def test_roles_that_a_tokenizer_does_not_fill_stay_empty(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(tiny.chat_tokenizer(), LINES)
    tokenizer.unk_token = None
    source, *_ = families.made(families.Cell("Qwen2", "chat", "chat", True))
    source.model.config.save_pretrained(tmp_path)
    save_tokenizer(tokenizer, tmp_path)
    read = load_tokenizer(tmp_path)
    assert type(read).__name__ == "Qwen2Tokenizer"
    assert (read.unk_token, read.bos_token, read.eos_token) == (None, None, "<|endoftext|>")


def test_a_model_that_fails_its_check_is_not_left(tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny.wordpiece_tokenizer()
    source = from_transformers(tiny.bert(tokenizer), tokenizer)
    save_model(source, tmp_path / "model")
    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    build_table(tokenizer, tokenizer).save(tmp_path / "table.npz")
    arguments = ("init", tmp_path / "model", tmp_path / "tokenizer", "--table", tmp_path / "table.npz", "--out")
    status, out, _ = command(*arguments, tmp_path / "good", "--json")
    assert status == 0
    assert json.loads(out)["self_check"]["max_difference"] == 0.0
    original = graft.__globals__["with_rows"]

    def careless(*given, **options):
        made = original(*given, **options)
        with torch.no_grad():
            made.get_input_embeddings().weight[77] *= 1e6
        return made

    monkeypatch.setitem(graft.__globals__, "with_rows", careless)
    status, _, err = command(*arguments, tmp_path / "bad")
    assert status == SelfCheckError.exit_status
    assert "1 rows of the input embeddings are outliers" in " ".join(err.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "model", "table.npz", "tokenizer"]
