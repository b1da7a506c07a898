"""A parser learns, is saved as one folder that loads as it was, and parses whatever it is given."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer
from trees import leads_to_the_root, random_sentences

import tiny
from lingraft.errors import CorpusError, ModelError, RecipeError, RunError
from lingraft.surgery import from_transformers, load_model
from lingraft.tasks.parsing import (
    Parse,
    Parser,
    ParserSettings,
    ParsingTask,
    Sentence,
    build_parser,
    count_attachments,
    load_parser,
)

SENTENCES = random_sentences(20, seed=9, shortest=3, longest=8)
SMALL = ParserSettings(arc_size=32, label_size=16)


def make(settings: ParserSettings = SMALL, seed: int = 0) -> Parser:
    tokenizer = tiny.wordpiece_tokenizer()
    parser = build_parser(from_transformers(tiny.bert(tokenizer), tokenizer), SENTENCES, settings, seed)
    torch.manual_seed(seed)
    with torch.no_grad():  # untrained, every tree would be equally good
        for parameter in (parser.head.arc_weight, parser.head.label_weight):
            parameter.add_(torch.randn_like(parameter))
    return parser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("parsers") / "parser"
    make().save(path)
    return path


@pytest.mark.parametrize(
    "choice", [{}, {"pooling": "first", "layers": "last", "root": "vector"}], ids=["default", "other"]
)
def test_a_parser_learns_twenty_sentences_by_heart(choice):
    tokenizer = tiny.wordpiece_tokenizer()
    model = from_transformers(tiny.bert(tokenizer), tokenizer)
    parser = build_parser(model, SENTENCES, ParserSettings(arc_size=64, label_size=32, **choice))
    task = ParsingTask(parser, SENTENCES, SENTENCES)
    assert task.score()["las"] < 0.4
    optimizer = torch.optim.AdamW(parser.parameters(), lr=3e-3)
    for step in range(300):  # without dropout: the parser was built in evaluation mode
        loss = task.loss(np.arange(20))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parser.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 19 and task.score() == {"las": 1.0, "uas": 1.0}:
            break
    counts = count_attachments(SENTENCES, parser.parse(SENTENCES))
    assert (counts.uas, counts.las) == (1.0, 1.0)


def test_every_parse_is_a_tree_with_one_root_and_fitting_relations():
    for sentence, parse in zip(SENTENCES, make().parse(SENTENCES), strict=True):
        assert isinstance(parse, Parse)
        assert len(parse.heads) == len(parse.deprels) == len(sentence)
        assert parse.heads.count(0) == 1
        assert leads_to_the_root(parse.heads)
        assert all((deprel == "root") == (head == 0) for head, deprel in zip(*parse, strict=True))


def test_the_order_and_the_batches_change_nothing():
    parser = make()
    sentences = [*SENTENCES, ["ba", "re"], ("mi",)]
    expected = parser.parse(sentences, precision="float32")
    for batch_tokens in (1, 37, 10**6):
        assert parser.parse(sentences, batch_tokens, precision="float32") == expected
    assert parser.parse(sentences[::-1], precision="float32") == expected[::-1]
    assert [len(parse.heads) for parse in expected[-2:]] == [2, 1]


def test_sentences_of_any_length():
    parser = make()
    long = list(tiny.words()) * 2
    words = [[], long, ["ba"], []]
    parses = parser.parse(words, batch_tokens=50)
    assert [len(parse.heads) for parse in parses] == [0, 600, 1, 0]
    assert leads_to_the_root(parses[1].heads)
    assert parses[2] == Parse((0,), ("root",))
    assert parser.parse([]) == []


def test_what_is_saved_loads_as_it_was(folder):
    parser, loaded = make(), load_parser(folder)
    assert loaded.labels == parser.labels
    assert loaded.settings == parser.settings
    assert loaded.max_length == parser.max_length == 64
    assert not loaded.training
    state = loaded.state_dict()
    assert state.keys() == parser.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in parser.state_dict().items())
    assert loaded.parse(SENTENCES) == parser.parse(SENTENCES)


def test_the_folder_holds_no_pickle_and_is_the_same_when_saved_again(folder, tmp_path):
    load_parser(folder).save(tmp_path / "again")
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(path.name for path in (tmp_path / "again").iterdir())
    assert {"config.json", "model.safetensors", "parser.json", "parser.safetensors", "tokenizer.json"} <= set(files)
    assert not [name for name in files if not name.endswith((".json", ".safetensors"))]
    for name in set(files) - {"tokenizer_config.json"}:  # there transformers notes where it was read from
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_plain_transformers_loads_the_encoder(folder):
    parser = make()
    encoder, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("ba re mi", return_tensors="pt")
    with torch.inference_mode():
        expected = parser.encoder(**inputs).last_hidden_state
        assert torch.equal(encoder(**inputs).last_hidden_state, expected)
    assert load_model(folder).kind == "masked"


@pytest.mark.parametrize("family", ["sentence", "roberta", "gpt2"])
def test_encoders_of_other_kinds(family, sentence_model_folder, tmp_path):
    if family == "sentence":
        model = load_model(sentence_model_folder)
    else:
        tokenizer = tiny.bytebpe_tokenizer()
        model = from_transformers(getattr(tiny, family)(tokenizer), tokenizer)
    parser = build_parser(model, SENTENCES, SMALL)
    parser.save(tmp_path / "parser")
    assert load_parser(tmp_path / "parser").parse(SENTENCES) == parser.parse(SENTENCES)
    assert not hasattr(parser.encoder, "pooler") or parser.encoder.pooler is None


def test_another_vocabulary_takes_the_place_of_the_old():
    parser = make()
    before = parser.parse(SENTENCES)
    old, new = parser.tokenizer, tiny.renumbered(parser.tokenizer, list(range(len(parser.tokenizer)))[::-1])
    rows = parser.encoder.get_input_embeddings().weight.detach()
    parser.tokenizer = new
    parser.encoder.set_input_embeddings(torch.nn.Embedding.from_pretrained(rows.flip(0)))
    assert parser.parse(SENTENCES) == before
    parser.tokenizer = old
    assert parser.parse(SENTENCES) != before


def test_new_layers_depend_on_the_seed_alone():
    state = torch.random.get_rng_state()
    tokenizer = tiny.wordpiece_tokenizer()
    model = from_transformers(tiny.bert(tokenizer), tokenizer)
    torch.random.set_rng_state(state)
    first, again, other = (build_parser(model, SENTENCES, SMALL, seed).head for seed in (4, 4, 5))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.arc_head[0].weight, again.arc_head[0].weight)
    assert not torch.equal(first.arc_head[0].weight, other.arc_head[0].weight)


def test_the_root_is_the_token_before_a_text_where_there_is_one():
    wordpiece, plain = tiny.wordpiece_tokenizer(), tiny.rebuilt(tiny.bytebpe_tokenizer(), post_processor=None)
    with_cls = from_transformers(tiny.bert(wordpiece), wordpiece)
    without = from_transformers(tiny.gpt2(plain), plain)
    assert build_parser(with_cls, SENTENCES, SMALL).settings.root == "cls"
    assert build_parser(with_cls, SENTENCES, replace(SMALL, root="vector")).settings.root == "vector"
    assert build_parser(without, SENTENCES, SMALL).settings.root == "vector"
    with pytest.raises(RecipeError, match="can only be 'vector'"):
        build_parser(without, SENTENCES, replace(SMALL, root="cls"))


def test_parsing_leaves_a_training_parser_in_training():
    parser = make().train()
    expected = parser.parse(SENTENCES)
    assert parser.training
    assert parser.parse(SENTENCES) == expected  # no dropout


def test_bf16_gives_nearly_the_same_trees():
    parser = make()
    exact = [head for parse in parser.parse(SENTENCES, precision="float32") for head in parse.heads]
    rounded = [head for parse in parser.parse(SENTENCES, precision="bf16") for head in parse.heads]
    assert np.mean(np.array(exact) == np.array(rounded)) > 0.9


def test_wrong_arguments_are_refused():
    parser = make()
    with pytest.raises(RecipeError, match="at least 1 token at once; given: 0"):
        parser.parse(SENTENCES, batch_tokens=0)
    with pytest.raises(RecipeError, match="given: 'fp8'"):
        parser.parse(SENTENCES, precision="fp8")
    with pytest.raises(CorpusError, match="no sentence with a tree"):
        build_parser(from_transformers(tiny.bert(parser.tokenizer), parser.tokenizer), [Sentence.from_words(["a"])])


def test_a_model_that_diverged_is_a_failed_run():
    parser = make()
    with torch.no_grad():
        parser.head.arc_weight[0, 0] = torch.nan
    with pytest.raises(RunError, match="training diverged"):
        parser.parse(SENTENCES)


def test_a_folder_that_is_no_parser_is_refused(model_folder, tmp_path):
    with pytest.raises(ModelError, match=r"is no parser: it has no parser\.json"):
        load_parser(model_folder)
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_parser(tmp_path)


def changed(folder, tmp_path, **values):
    path = tmp_path / "parser"
    shutil.copytree(folder, path)
    config = json.loads((path / "parser.json").read_text(encoding="utf-8")) | values
    (path / "parser.json").write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lingraft_parser": 2}, "has the format 2; this lingraft reads format 1"),
        ({"labels": []}, "is damaged"),
        ({"labels": [1, 2]}, "is damaged"),
        ({"labels": None}, "is damaged"),
        ({"max_length": "64"}, "is damaged"),
        ({"settings": {"pooling": "max"}}, r"'pooling' is one of first, mean"),
        ({"settings": {"colour": "red"}}, "colour"),
        ({"settings": {"dropout": "a lot"}}, "no parser's"),
        ({"labels": ["root", "dep"]}, "do not fit"),
        ({"settings": {"arc_size": 33, "label_size": 16}}, "do not fit"),
    ],
)
def test_a_damaged_configuration_is_refused(folder, tmp_path, values, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_parser(changed(folder, tmp_path, **values))
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused(folder, tmp_path):
    path = changed(folder, tmp_path)
    (path / "parser.json").write_text("[", encoding="utf-8")
    with pytest.raises(ModelError, match=r"parser\.json' is damaged"):
        load_parser(path)
    shutil.copyfile(folder / "parser.json", path / "parser.json")
    (path / "parser.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="do not fit"):
        load_parser(path)
    (path / "parser.safetensors").unlink()
    with pytest.raises(ModelError, match="do not fit"):
        load_parser(path)
    shutil.copyfile(folder / "parser.safetensors", path / "parser.safetensors")
    (path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="could not be loaded"):
        load_parser(path)
