from __future__ import annotations

import json
import random
import sys

import pytest

import tiny
from lingraft.surgery import load_tokenizer


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tsv(path, malformed=(), n=200):
    lines = [f"{one}\t{other}" for one, other in tiny.cipher_pairs(n)]
    for number in malformed:
        lines[number - 1] = "only one column"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def refused(command, tmp_path):
    """Runs a command that has to be refused: one message, status 2, no file made or changed. Gives the message."""

    def run(*arguments):
        before = content(tmp_path), sorted(tmp_path.rglob("*"))
        status, out, err = command(*arguments)
        assert (status, out) == (2, ""), err
        assert "Traceback" not in err
        assert err.startswith("lingraft: ")
        assert err.count("\n") == 1
        assert (content(tmp_path), sorted(tmp_path.rglob("*"))) == before
        return err

    return run


@pytest.fixture
def transfer(refused, model_folder, bitext_file, tmp_path):
    """Runs a transfer that has to be refused, with some of its arguments replaced."""

    def run(*extra, model=model_folder, bitext=bitext_file, to="fr"):
        bitexts = [] if bitext is None else ["--bitext", bitext]
        line = ["transfer", model, "--to", to, *bitexts, "--objective", "none", "--quiet", "--out", tmp_path / "out"]
        return refused(*line, *extra)

    return run


@pytest.mark.parametrize("option", ["--bitext", "--text", "--source-text", "--eval-bitext"])
@pytest.mark.parametrize(
    ("file_content", "reason"),
    [
        (None, "does not exist"), (b"", "is empty"), (b"one\ttwo\n\x7fELF\0\0\0\n", "line 2 holds NUL bytes"),
        ("café\té\n".encode("latin-1"), "line 1 holds the byte 0xe9"), (b"\n \n", "left of"),
    ],
    ids=["missing", "empty", "binary", "latin-1", "blank"],
)  # fmt: skip
def test_a_bad_text_file_is_named(transfer, tmp_path, option, file_content, reason):
    path = tmp_path / "input.txt"
    if file_content is not None:
        path.write_bytes(file_content)
    message = transfer(bitext=path) if option == "--bitext" else transfer(option, path)
    assert str(path) in message
    assert reason in message


@pytest.mark.parametrize("option", ["--bitext", "--text", "--source-text", "--eval-bitext"])
def test_a_folder_is_no_text(transfer, tmp_path, option):
    (tmp_path / "folder").mkdir()
    message = transfer(option, tmp_path / "folder")
    assert f"'{tmp_path / 'folder'}' is a folder" in message


def test_random_bytes_are_no_text(transfer, tmp_path):
    path = tmp_path / "noise.tsv"
    path.write_bytes(random.Random(1).randbytes(5000))
    assert str(path) in transfer(bitext=path)


def test_a_truncated_compressed_bitext_is_named(transfer, tmp_path, bitext_file):
    import zstandard

    path = tmp_path / "bitext.tsv.zst"
    path.write_bytes(zstandard.compress(bitext_file.read_bytes() * 50)[:-20])
    message = transfer(bitext=path)
    assert f"'{path}' cannot be read after line" in message


def test_hub_data_sets_that_are_not_read(transfer, monkeypatch):
    assert "'hf:opus_books' names a hub data set" in transfer(bitext="hf:opus_books")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'lingraft[hub]'" in transfer("--text", "hf:opus_books")


@pytest.mark.parametrize("option", ["--bitext", "--eval-bitext"])
def test_two_files_of_different_length_are_named_with_both_counts(transfer, tmp_path, option):
    (tmp_path / "text.en").write_text("a\n" * 1203)
    (tmp_path / "text.fr").write_text("à\n" * 1200)
    message = transfer(option, f"{tmp_path}/text.en,{tmp_path}/text.fr")
    assert f"'{tmp_path}/text.en' has 1,203 lines" in message
    assert f"'{tmp_path}/text.fr' has 1,200" in message


def test_three_files_are_no_bitext(transfer, tmp_path):
    names = ",".join(str(tsv(tmp_path / name)) for name in ("a.en", "b.fr", "c.de"))
    assert "names 3 files" in transfer(bitext=names)


def test_too_many_malformed_lines_are_an_error_that_names_the_first(transfer, tmp_path):
    path = tsv(tmp_path / "bitext.tsv", malformed=(150, 17, 3))
    message = transfer(bitext=path)
    assert f"'{path}': line 3 has 1 column, two were expected" in message
    assert "3 of 200" in message


def test_a_few_malformed_lines_are_skipped_and_counted(command, tmp_path, model_folder):
    path = tsv(tmp_path / "bitext.tsv", malformed=(17,))
    line = ["transfer", model_folder, "--to", "fr", "--bitext", path, "--objective", "none", "--out", tmp_path / "out"]
    status, out, err = command(*line, "--json")
    assert status == 0
    counts = json.loads(out)["corpus"]["bitext"]
    assert (counts["read"], counts["kept"], counts["malformed"], counts["malformed_lines"]) == (200, 199, 1, [17])
    assert "1 malformed lines skipped (line 17)" in err


def test_a_vocabulary_larger_than_the_text_supports_is_refused_with_both_sizes(transfer):
    message = transfer("--vocab-size", 20_000)
    assert "20,000" in message
    assert "text supports" in message


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (["--set", "training.sauce=1"], ["'training.sauce'", "batch_size"]),
        (["--set", "sauce"], ["'sauce'", "KEY=VALUE"]),
        (["--set", "training.mask_rate=2"], ["'training.mask_rate'", "less than 1", "given: 2"]),
        (["--set", "evidence.bitext=null"], ["'evidence.bitext'"]),
        (["--objective", "nsp"], ["'nsp'", "'mlm'"]),
        (["--budget", "soon"], ["'soon'", "90m"]),
        (["--steps", 5, "--budget", "5m"], ["steps and budget"]),
        (["--steps", 5, "--tokens", 500], ["steps and tokens"]),
        (["--steps", 0], ["'training.steps'", "given: 0"]),
        (["--to", "french"], ["'french'", "BCP 47"]),
        (["--tokenizer", "no/such-tokenizer"], ["'no/such-tokenizer'"]),
        (["--vocab-size", 500, "--tokenizer", "x"], ["size is for a tokenizer that is trained"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if str(value[0]).startswith("--") else "",
)
def test_a_wrong_option_is_named(transfer, extra, named):
    message = transfer(*extra)
    for part in named:
        assert part in message


def test_a_transfer_needs_evidence(transfer):
    message = transfer(bitext=None, to="sw")
    for option in ("--bitext", "--lexicon", "--vectors", "--text, --source-text"):
        assert option in message
    assert "A lexicon comes with the package for ar, fr, hi, ru, vi, zh." in message


@pytest.mark.parametrize("missing", [["--to", "fr"], ["--out", "out"], ["model"]], ids=lambda value: value[0])
def test_a_transfer_needs_model_language_and_folder(refused, monkeypatch, tmp_path, missing):
    monkeypatch.chdir(tmp_path)
    parts = [part for part in (["model"], ["--to", "fr"], ["--out", "out"]) if part != missing]
    message = refused("transfer", *(word for part in parts for word in part))
    assert ("--out DIR" if missing[0] == "--out" else "MODEL --to LANG") in message


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ("sauce: 1\n", ["unknown key 'sauce'", "evidence"]),
        ("training: {step: 5}\n", ["unknown key 'training.step'", "steps"]),
        ("training: 5\n", ["'training'"]),
        ("- one\n", ["recipe.yaml", "no mapping"]),
        ("a: [1\n", ["recipe.yaml", "cannot be read"]),
        (None, ["recipe.yaml", "does not exist"]),
    ],
)
def test_a_bad_recipe_is_named(refused, tmp_path, model_folder, bitext_file, recipe, named):
    path = tmp_path / "recipe.yaml"
    if recipe is not None:
        path.write_text(recipe)
    line = ["transfer", model_folder, "--to", "fr", "--bitext", bitext_file, "--recipe", path]
    message = refused(*line, "--out", tmp_path / "out")
    for part in named:
        assert part in message


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["config.json", "tokenizer.json"], "no weights"),
        (["config.json", "tokenizer.json", "pytorch_model.bin"], "pytorch_model.bin is a pickle"),
        (["model.safetensors", "tokenizer.json"], "no config.json"),
        (["config.json", "model.safetensors"], "No tokenizer could be read"),
        ([], "no config.json"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_named(transfer, tmp_path, model_folder, files, reason):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in files:
        given = model_folder / name
        (folder / name).write_bytes(given.read_bytes() if given.exists() else b"\x80\x04.")
    message = transfer(model=folder)
    assert str(folder) in message
    assert reason in message


def test_damaged_weights_are_named(transfer, tmp_path, model_folder):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in model_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[: 2000 if path.suffix == ".safetensors" else None])
    assert f"'{folder}' could not be loaded" in transfer(model=folder)


@pytest.mark.parametrize("name", ["no/such-model", "nowhere"])
def test_a_model_that_is_nowhere_is_named(transfer, name):
    assert f"'{name}'" in transfer(model=name)


def test_a_file_is_no_model(transfer, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert "is a file; a model folder" in transfer(model=tmp_path / "model.safetensors")


def test_an_output_folder_with_a_different_run_is_refused_and_untouched(
    command, transfer, model_folder, bitext_file, tmp_path
):
    out = tmp_path / "out"
    line = ["transfer", model_folder, "--to", "fr", "--bitext", bitext_file, "--objective", "none", "--out", out]
    assert command(*line)[0] == 0
    for extra in (["--seed", 1], ["--to", "de"], ["--vocab-size", 250], ["--set", "evidence.alignment.alpha=0.2"]):
        message = transfer(*extra)
        assert f"'{out}' holds a different run" in message
        assert f"lingraft resume {out}" in message
    assert command(*line)[0] == 0


def test_an_output_folder_with_something_else_is_refused_and_untouched(transfer, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    assert "is not empty and holds no run" in transfer()


def test_a_file_in_the_place_of_the_output_folder_is_refused(transfer, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert f"'{tmp_path / 'out'}' is a file" in transfer()


def test_resume_needs_a_run(refused, tmp_path):
    assert "no recipe.yaml" in refused("resume", tmp_path)
    assert str(tmp_path / "gone") in refused("resume", tmp_path / "gone")


def test_resume_names_an_input_that_is_gone(command, refused, tmp_path, model_folder):
    bitext = tsv(tmp_path / "bitext.tsv")
    line = ["transfer", model_folder, "--to", "fr", "--bitext", bitext, "--objective", "none"]
    assert command(*line, "--out", tmp_path / "out")[0] == 0
    bitext.unlink()
    (tmp_path / "out" / "run.json").unlink()  # a finished run would not need it any more
    assert f"'{bitext}' does not exist" in refused("resume", tmp_path / "out")


def test_tokenizer_refuses_what_it_cannot_use(refused, tmp_path, model_folder, bitext_file):
    (tmp_path / "blank.txt").write_text("\n\n")
    (tmp_path / "there").mkdir()
    line = ["tokenizer", model_folder, "--out", tmp_path / "out"]
    assert "gone.txt' does not exist" in refused(*line, "--text", tmp_path / "gone.txt")
    assert "nothing to make a vocabulary from" in refused(*line, "--text", tmp_path / "blank.txt")
    assert "9,000" in refused(*line, "--text", bitext_file, "--vocab-size", 9000)
    assert "no/model" in refused("tokenizer", "no/model", "--out", tmp_path / "out", "--text", bitext_file)
    assert "is there already" in refused(*line, "--text", bitext_file, "--out", tmp_path / "there")


def test_table_refuses_what_it_cannot_use(refused, tmp_path, model_folder, bitext_file):
    (tmp_path / "blank.tsv").write_text(" \t\n\t \n")
    (tmp_path / "there.npz").write_text("mine")
    line = ["table", model_folder, model_folder, "--quiet", "--out", tmp_path / "table.npz"]
    assert "gone.tsv' does not exist" in refused(*line, "--bitext", tmp_path / "gone.tsv")
    assert "blank.tsv" in refused(*line, "--bitext", tmp_path / "blank.tsv")
    assert "no/tokenizer" in refused("table", model_folder, "no/tokenizer", *line[3:], "--bitext", bitext_file)
    assert "is there already" in refused(*line, "--bitext", bitext_file, "--out", tmp_path / "there.npz")


def test_init_refuses_what_it_cannot_use(command, refused, tmp_path, model_folder, causal_model_folder, bitext_file):
    path, out = tmp_path / "table.npz", tmp_path / "out"
    assert command("table", model_folder, model_folder, "--bitext", bitext_file, "--out", path)[0] == 0
    (tmp_path / "noise.npz").write_bytes(path.read_bytes()[:500])
    line = ["init", model_folder, model_folder, "--out", out, "--table"]
    assert "'magic'" in refused(*line, path, "--method", "magic")
    assert "gone.npz' does not exist" in refused(*line, tmp_path / "gone.npz")
    assert "noise.npz' is no translation table" in refused(*line, tmp_path / "noise.npz")
    other = refused("init", model_folder, causal_model_folder, "--out", out, "--table", path)
    assert "another target tokenizer" in other
    assert len(load_tokenizer(model_folder)) != len(load_tokenizer(causal_model_folder))
    assert "is there already" in refused(*line, path, "--out", tmp_path)


def test_evaluate_refuses_what_it_cannot_use(refused, tmp_path, model_folder, sentence_model_folder, bitext_file):
    (tmp_path / "blank.tsv").write_text("\n \n")
    for task in ("retrieval", "lm"):
        line = ["evaluate", task, "--data"]
        assert "gone.tsv' does not exist" in refused(*line, tmp_path / "gone.tsv", "--model", model_folder)
        assert "blank.tsv" in refused(*line, tmp_path / "blank.tsv", "--model", model_folder)
        assert "no/model" in refused(*line, bitext_file, "--model", "no/model")
    assert "no language-modelling head" in refused(*line, bitext_file, "--model", sentence_model_folder)
