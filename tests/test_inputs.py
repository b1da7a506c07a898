from __future__ import annotations

import os
import shutil

import pytest
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForMaskedLM, AutoTokenizer

import lingraft
import tiny
from lingraft.errors import CorpusError, ModelError, OutputError, RecipeError
from lingraft.surgery import load_model

STAGES = ["corpus", "vocabulary", "table", "graft"]
PAIRS = tiny.cipher_pairs()
HELDOUT = tiny.cipher_pairs(40, seed=7)
FOREIGN = [tiny.cipher(line) for line in tiny.english_lines(60, seed=3)]
ENGLISH = tiny.english_lines(60, seed=4)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def weights(result):
    return [content(result.directory / side)["model.safetensors"] for side in ("target", "source")]


def loaded_masked_model(folder):
    return AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def text_files(tmp_path):
    names = []
    for name, lines in (("text.fr", FOREIGN), ("text.en", ENGLISH)):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        names.append(tmp_path / name)
    return names


@pytest.fixture(scope="module")
def grafted(tmp_path_factory, model_folder, bitext_file):
    """A finished run without training."""
    out = tmp_path_factory.mktemp("grafted") / "out"
    return lingraft.transfer(model_folder, to="fr", out=out, bitext=bitext_file, objective="none")


def test_a_loaded_model_and_text_in_memory_give_the_weights_that_files_give(
    tmp_path, model_folder, bitext_file, heldout_file, text_files
):
    text, source_text = text_files
    how = {"to": "fr", "objective": "mlm", "steps": 3, "settings": {"training.batch_size": 4, "seed": 5}}
    from_files = lingraft.transfer(
        model_folder, out=tmp_path / "files", bitext=[bitext_file], text=text, source_text=[source_text],
        eval_bitext=heldout_file, **how,
    )  # fmt: skip
    model, tokenizer = loaded_masked_model(model_folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    from_memory = lingraft.transfer(
        (model, tokenizer), out=tmp_path / "memory", bitext=PAIRS, text=lingraft.Lines(FOREIGN),
        source_text=lingraft.Lines(ENGLISH), eval_bitext=HELDOUT, **how,
    )  # fmt: skip
    assert weights(from_memory) == weights(from_files)
    assert from_memory.scores == from_files.scores
    assert from_memory.run["corpus"] == from_files.run["corpus"]
    assert from_files.run["corpus"]["text"]["kept"] == 60
    assert from_files.recipe.seed == 5
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_a_loaded_sentence_encoder_gives_the_weights_that_its_folder_gives(
    tmp_path, sentence_model_folder, bitext_file
):
    how = {"to": "fr", "bitext": bitext_file, "steps": 3, "settings": {"training.batch_size": 16}}
    from_folder = lingraft.transfer(sentence_model_folder, out=tmp_path / "folder", **how)
    encoder = SentenceTransformer(str(sentence_model_folder), device="cpu")
    from_memory = lingraft.transfer(encoder, out=tmp_path / "memory", **how)
    assert from_memory.recipe.training.objective == "distill"
    assert weights(from_memory) == weights(from_folder)
    again = lingraft.transfer(encoder, out=tmp_path / "memory", **how)
    assert again.run["reused_stages"] == [*STAGES, "trained", "scores"]
    assert weights(again) == weights(from_folder)


def test_a_model_that_lingraft_loaded_may_be_given(tmp_path, model_folder, bitext_file, grafted):
    result = lingraft.transfer(
        load_model(model_folder), to="fr", out=tmp_path / "out", bitext=bitext_file, objective="none"
    )
    assert weights(result) == weights(grafted)


def test_running_again_reuses_every_stage_and_gives_the_same_weights(grafted, model_folder, bitext_file):
    before = content(grafted.directory / "target") | content(grafted.directory / "source")
    assert grafted.run["reused_stages"] == []
    again = lingraft.transfer(model_folder, to="fr", out=grafted.directory, bitext=bitext_file, objective="none")
    assert again.run["reused_stages"] == [*STAGES, "scores"]
    assert content(grafted.directory / "target") | content(grafted.directory / "source") == before
    resumed = lingraft.resume(grafted.directory)
    assert resumed.run["reused_stages"] == [*STAGES, "scores"]
    assert resumed.recipe == grafted.recipe == again.recipe
    assert content(grafted.directory / "target") | content(grafted.directory / "source") == before


def test_a_result_that_was_lost_comes_back_from_the_stages(grafted):
    before = content(grafted.directory / "target")
    shutil.rmtree(grafted.directory / "target")
    (grafted.directory / "table.npz").unlink()
    lingraft.resume(grafted.directory)
    assert content(grafted.directory / "target") == before
    assert (grafted.directory / "table.npz").is_file()


def test_stages_are_made_anew_when_a_text_has_changed(tmp_path, model_folder):
    bitext = tmp_path / "bitext.tsv"
    how = {"to": "fr", "out": tmp_path / "out", "bitext": bitext, "objective": "none"}
    sizes = []
    for pairs in (PAIRS[:200], PAIRS[:300]):
        bitext.write_text("".join(f"{one}\t{other}\n" for one, other in pairs), encoding="utf-8")
        result = lingraft.transfer(model_folder, **how)
        assert result.run["reused_stages"] == []
        sizes.append(result.run["corpus"]["bitext"]["kept"])
    assert sizes == [200, 300]


def test_a_run_means_the_same_from_any_folder(tmp_path, monkeypatch, model_folder, bitext_file):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    names = [os.path.relpath(path) for path in (model_folder, bitext_file)]
    lingraft.transfer(names[0], to="fr", out="out", bitext=names[1], objective="none")
    monkeypatch.chdir(tmp_path / "there")
    (tmp_path / "here" / "out" / "run.json").unlink()  # as if it had been killed just before the end
    resumed = lingraft.resume(tmp_path / "here" / "out")
    assert resumed.run["reused_stages"] == [*STAGES, "scores"]


def test_progress_goes_through_the_stages_in_order(tmp_path, sentence_model_folder, bitext_file):
    told = []
    lingraft.transfer(
        sentence_model_folder, to="fr", out=tmp_path / "out", bitext=bitext_file, steps=2,
        on_progress=lambda stage, share, note: told.append((stage, share, note)),
    )  # fmt: skip
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == [*STAGES, "training", "scores"]
    for name in (*STAGES, "training", "scores"):
        shares = [share for stage, share, _ in told if stage == name]
        assert (shares[0], shares[-1]) == (0, 1)
        assert shares == sorted(shares)
    assert any("400 pairs" in note for _, _, note in told)


@pytest.mark.parametrize(
    ("wrong", "error", "named"),
    [
        ({"bitext": "gone.tsv"}, CorpusError, "gone.tsv"),
        ({"bitext": (), "to": "sw"}, RecipeError, "--bitext"),
        ({"bitext": [("one", "two"), ("one",)]}, CorpusError, "pairs"),
        ({"bitext": [(" ", "b"), ("a", "")]}, CorpusError, "2 with an empty side"),
        ({"bitext": "hf:opus"}, CorpusError, "'hf:opus' names a hub data set"),
        ({"text": "hf:"}, CorpusError, "'hf:' names no hub data set"),
        ({"text": lingraft.Lines()}, CorpusError, "is empty"),
        ({"eval_bitext": ["a.tsv", "b.tsv"]}, CorpusError, "2 were given"),
        ({"vocab_size": 5000}, CorpusError, "5,000"),
        ({"tokenizer": "no/such-tokenizer"}, ModelError, "no/such-tokenizer"),
        ({"model": "no/such-model"}, ModelError, "no/such-model"),
        ({"model": 5}, ModelError, "int"),
        ({"to": "french"}, RecipeError, "french"),
        ({"settings": {"training.sauce": 1}}, RecipeError, "training.sauce"),
        ({"settings": {"training.evaluations": False}}, RecipeError, "training.evaluations"),
        ({"objective": "nsp"}, RecipeError, "nsp"),
    ],
)
@pytest.mark.parametrize("existed", [False, True])
def test_wrong_input_is_named_and_leaves_nothing_behind(
    tmp_path, model_folder, bitext_file, wrong, error, named, existed
):
    out = tmp_path / "deep" / "out"
    if existed:
        out.mkdir(parents=True)
    pair = loaded_masked_model(model_folder)
    given = {"model": pair, "to": "fr", "out": out, "bitext": bitext_file, "objective": "none"} | wrong
    with pytest.raises(error) as caught:
        lingraft.transfer(given.pop("model"), **given)
    assert named in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == ([tmp_path / "deep", out] if existed else [])


def test_a_folder_with_a_different_run_is_refused_and_untouched(tmp_path, model_folder, bitext_file, wordpiece):
    how = {"to": "fr", "out": tmp_path / "out", "objective": "none"}
    model = tiny.bert(wordpiece)
    lingraft.transfer((model, wordpiece), bitext=PAIRS, **how)
    before = content(tmp_path)
    others = [
        (model_folder, {"bitext": PAIRS}),
        ((tiny.bert(wordpiece, seed=1), wordpiece), {"bitext": PAIRS}),
        ((model, wordpiece), {"bitext": PAIRS[:100]}),
        ((model, wordpiece), {"bitext": PAIRS, "seed": 1}),
    ]
    for other, changed in others:
        with pytest.raises(OutputError, match="holds a different run") as caught:
            lingraft.transfer(other, **how | changed)
        assert str(tmp_path / "out") in str(caught.value)
        assert content(tmp_path) == before
    assert lingraft.transfer((model, wordpiece), bitext=PAIRS, **how).run["reused_stages"] == [*STAGES, "scores"]


def test_a_folder_of_something_else_is_refused_and_untouched(tmp_path, model_folder, bitext_file):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "inputs").mkdir()
    with pytest.raises(OutputError, match="is not empty and holds no run"):
        lingraft.transfer(model_folder, to="fr", out=tmp_path, bitext=PAIRS)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["inputs", "thesis.tex"]


def test_a_file_is_no_folder_for_a_run(tmp_path, model_folder):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        lingraft.transfer(model_folder, to="fr", out=tmp_path / "out", bitext=PAIRS)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("folder", [".", "gone"])
def test_there_is_nothing_to_resume_where_no_run_is(tmp_path, folder):
    with pytest.raises(OutputError, match=r"there is no recipe\.yaml in it"):
        lingraft.resume(tmp_path / folder)
    assert list(tmp_path.iterdir()) == []
