from __future__ import annotations

import pytest
import torch

import tiny
from conftest import on_disk
from families import FAMILIES
from lingraft.errors import ModelError
from lingraft.surgery.rows import read_rows


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_are_those_of_the_input_embeddings(name, tmp_path):
    family = FAMILIES[name]
    tokenizer = tiny.wordpiece_tokenizer()
    model = family.model(tokenizer, family.tied[0])
    on_disk(tmp_path, model, tokenizer)
    ids = [7, 0, 31, 7]
    expected = model.get_input_embeddings().weight.detach()[ids].float()
    rows = read_rows(tmp_path, ids)
    assert rows.dtype == torch.float32
    assert torch.equal(rows, expected)


def test_a_sentence_encoder_has_its_transformer_inside(sentence_model_folder):
    assert read_rows(sentence_model_folder, [1, 2]).shape[0] == 2


def test_a_folder_without_weights_is_refused(tmp_path, wordpiece):
    model = FAMILIES["BERT"].model(wordpiece, True)
    on_disk(tmp_path, model, wordpiece)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no weights named 'embeddings\.word_embeddings\.weight'"):
        read_rows(tmp_path, [0])
