"""The common part of all initialisers: special tokens, rows to tables, rules for rows without evidence, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import sparse
from transformers import PreTrainedTokenizerFast

import tiny
from lingraft.errors import CorpusError, RecipeError, TableError
from lingraft.evidence import Provenance, TranslationTable, bitext_counts, bitext_evidence, build_table
from lingraft.evidence.alignment import Lexicon
from lingraft.evidence.rows import Evidence
from lingraft.evidence.vectors import WordVectors, training, write_vectors
from lingraft.surgery import (
    METHODS,
    InitialiserInputs,
    from_transformers,
    graft,
    graft_with,
    initialise,
    load_model,
    mix_rows,
    vocabulary_parameters,
)
from lingraft.surgery.initialisers import check_method, inputs_of, possible_methods, table_of
from lingraft.surgery.initialisers.files import InputFiles, split_vectors
from lingraft.surgery.initialisers.interface import NEEDS
from lingraft.vocabulary import all_special_ids, special_ids, special_rows, train_tokenizer

WORDS = 120


@pytest.fixture(autouse=True)
def few_ngrams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filling fastText's table of character n-grams takes longer than training on a small text."""
    monkeypatch.setattr(training, "_BUCKETS", 500)


@pytest.fixture(scope="module")
def english() -> PreTrainedTokenizerFast:
    return tiny.wordpiece_tokenizer()


@pytest.fixture(scope="module")
def foreign(english: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer of the cipher language whose special tokens are at its end."""
    trained = train_tokenizer(english, [xx for _, xx in tiny.cipher_pairs(200)])
    return tiny.renumbered(trained, np.random.default_rng(2).permutation(len(trained)).tolist())


def word_vectors(words: list[str], seed: int, dimension: int = 16) -> WordVectors:
    """A vector a word, the same for the same seed."""
    matrix = np.random.default_rng(seed).normal(size=(len(words), dimension)).astype(np.float32)
    return WordVectors(words, matrix, np.arange(len(words), 0, -1, dtype=np.float64))


def cipher_lexicon(n: int = WORDS) -> Lexicon:
    """A dictionary of the cipher language without probabilities."""
    words = list(tiny.words()[:n])
    unknown = np.full(n, np.nan, np.float32)
    return Lexicon(words, [tiny.cipher_word(word) for word in words], unknown, unknown, unknown)


@pytest.fixture(scope="module")
def inputs(english: PreTrainedTokenizerFast, foreign: PreTrainedTokenizerFast) -> InitialiserInputs:
    """Everything that any method wants."""
    pairs = tiny.cipher_pairs(200)
    table = build_table(english, foreign, [bitext_evidence(bitext_counts(pairs, english, foreign)[0], english)])
    lexicon = cipher_lexicon()
    return InitialiserInputs(
        table, pairs, word_vectors(lexicon.english, 1), word_vectors(lexicon.foreign, 1), lexicon,
        [xx for _, xx in pairs],
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_special_tokens_keep_their_rows_under_every_method(
    method: str, english: PreTrainedTokenizerFast, foreign: PreTrainedTokenizerFast, inputs: InitialiserInputs
) -> None:
    source = from_transformers(tiny.bert(english), english)
    with torch.no_grad():
        vocabulary_parameters(source.model)["bias"].normal_()
    made = initialise(check_method(method), english, foreign, inputs)
    grafted = graft_with(source, foreign, made, seed=3)
    old, new = special_ids(english), special_ids(foreign)
    assert old != new
    for name, before in vocabulary_parameters(source.model).items():
        after = vocabulary_parameters(grafted.model)[name]
        assert after.shape[0] == len(foreign)
        assert torch.isfinite(after).all()
        assert all(torch.equal(after[new[role]], before[old[role]]) for role in new)
    # nothing that stands for text is made of what stands for none
    ordinary = np.setdiff1d(np.arange(len(foreign)), sorted(all_special_ids(foreign)))
    assert not made.table.matrix[ordinary][:, sorted(all_special_ids(english))].nnz


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_rows(
    method: str, english: PreTrainedTokenizerFast, foreign: PreTrainedTokenizerFast, inputs: InitialiserInputs
) -> None:
    if method == "focus":
        pytest.skip("training vectors has a test of its own")
    one, same = (initialise(check_method(method), english, foreign, inputs) for _ in range(2))
    assert (one.table.matrix != same.table.matrix).nnz == 0
    assert one.unknown == same.unknown


def test_mean_and_random_know_nothing_but_special_tokens(
    english: PreTrainedTokenizerFast, foreign: PreTrainedTokenizerFast, inputs: InitialiserInputs
) -> None:
    source = from_transformers(tiny.bert(english), english)
    for method in ("mean", "random"):
        made = initialise(method, english, foreign, InitialiserInputs())
        assert set(made.table.shares()) == {"special", "fallback"}
        assert inputs.table is not None
        theirs = graft(source, foreign, inputs.table, method, seed=1).model.state_dict()
        ours = graft_with(source, foreign, made, seed=1).model.state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_special_rows_go_by_role_before_text() -> None:
    english = tiny.bytebpe_tokenizer()
    foreign = tiny.renumbered(english, [3, 1, 2, 0, *range(4, len(english))])  # <unk> first, <s> fourth
    assert special_rows(english, foreign) == {0: 3, 1: 1, 2: 2, 3: 0, len(english) - 1: len(english) - 1}


def blank(n: int, columns: int, rows: list[tuple[int, int, float]]) -> sparse.csr_matrix:
    r, c, v = zip(*rows, strict=True)
    return sparse.csr_matrix((v, (r, c)), shape=(n, columns))


def test_the_first_evidence_that_knows_a_token_makes_its_row(
    english: PreTrainedTokenizerFast, foreign: PreTrainedTokenizerFast
) -> None:
    n, columns = len(foreign), len(english)
    plain = [k for k in range(n) if k not in all_special_ids(foreign)]
    mask, cls = special_ids(english)["mask"], special_ids(foreign)["cls"]
    first = Evidence.from_counts(
        Provenance.bitext,
        blank(n, columns, [(plain[0], 40, 3), (plain[0], mask, 5), (plain[1], mask, 2), (cls, 40, 9)]),
    )
    second = Evidence.from_counts(
        Provenance.vectors, blank(n, columns, [(plain[0], 41, 7), (plain[1], 42, 2), (plain[1], 43, 6)])
    )
    table = table_of(english, foreign, [first, second])
    assert table.matrix[plain[0]].toarray()[0, 40] == 1
    assert table.matrix[plain[0]].nnz == 1
    assert table.matrix[plain[1]].toarray()[0, [42, 43]].tolist() == [0.25, 0.75]
    assert [Provenance(table.provenance[k]).name for k in plain[:3]] == ["bitext", "vectors", "fallback"]
    assert table.matrix[cls].toarray()[0, special_ids(english)["cls"]] == 1
    assert table.evidence[plain[:3]].tolist() == [8, 8, 0]
    table.check_tokenizers(english, foreign)


@pytest.mark.parametrize(("unknown", "spread"), [("ramen", 1 / 64), ("ramen-code", 1 / 8)])
def test_ramens_rows_without_evidence(unknown: str, spread: float) -> None:
    rows = torch.randn(50, 64) * 3 + 1
    n = 2_000
    table = TranslationTable(
        sparse.csr_matrix((n, 50), dtype=np.float32), np.zeros(n, np.uint8), np.zeros(n, np.float32), "", ""
    )
    drawn = mix_rows(rows, table, np.random.default_rng(0), unknown)  # type: ignore[arg-type]
    # six standard errors of the mean and of the standard deviation of as many draws
    assert abs(float(drawn.mean())) < 6 * spread / drawn.numel() ** 0.5
    assert abs(float(drawn.std()) / spread - 1) < 6 / (2 * drawn.numel()) ** 0.5
    bias = mix_rows(torch.arange(50.0), table, np.random.default_rng(0), unknown)  # type: ignore[arg-type]
    assert not bias.any()


def test_every_method_says_what_it_needs() -> None:
    assert set(NEEDS) == set(METHODS)
    for method, ways in NEEDS.items():
        for way in ways:
            assert inputs_of(method, way) in ways
    assert possible_methods([]) == ("mean", "random")
    assert possible_methods(["bitext"]) == ("lingraft", "ramen", "mean", "random")
    assert inputs_of("ramen", ["vectors", "bitext", "lexicon"]) == ("bitext",)
    assert inputs_of("ramen", ["bitext", "text"]) == ("bitext",)
    assert inputs_of("lingraft", ["table", "bitext", "text"]) == ("table", "text")
    assert inputs_of("lingraft", ["text", "vectors", "bitext"]) == ("bitext", "vectors", "text")
    assert inputs_of("ramen", ["vectors", "lexicon"]) == ("vectors", "lexicon")
    with pytest.raises(RecipeError, match=r"'wechsel' needs word vectors .* and a dictionary .*; given: none of these"):
        inputs_of("wechsel", [])
    with pytest.raises(RecipeError, match=r"'lingraft' needs .*--table.*, or .*--bitext.*; given: text"):
        inputs_of("lingraft", ["text"])
    with pytest.raises(RecipeError, match=r"'magic'.* one of lingraft, ramen"):
        check_method("magic")


@pytest.mark.parametrize("method", ["lingraft", "ramen", "wechsel", "focus"])
def test_a_method_without_its_inputs_is_refused(
    method: str, english: PreTrainedTokenizerFast, foreign: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(RecipeError, match=f"'{method}' needs"):
        initialise(check_method(method), english, foreign, InitialiserInputs())


def test_a_table_of_other_tokenizers_is_refused(
    english: PreTrainedTokenizerFast, foreign: PreTrainedTokenizerFast, inputs: InitialiserInputs
) -> None:
    with pytest.raises(TableError, match="another target tokenizer"):
        initialise("lingraft", english, tiny.rebuilt(foreign, decoder=None), inputs)


@pytest.mark.parametrize("given", ["one.vec", "one.vec,", "a,b,c", ""])
def test_vectors_are_two_files(given: str) -> None:
    with pytest.raises(RecipeError, match=f"given: '{given}'"):
        split_vectors(given)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, inputs: InitialiserInputs, bitext_file: object) -> InputFiles:
    """The same inputs as files, but for the table."""
    folder = tmp_path_factory.mktemp("inputs")
    lexicon = cipher_lexicon()
    assert inputs.english_vectors
    assert inputs.foreign_vectors
    write_vectors(inputs.english_vectors, folder / "en.vec")
    write_vectors(inputs.foreign_vectors, folder / "xx.vec.gz")
    rows = zip(lexicon.english, lexicon.foreign, strict=True)
    (folder / "words.tsv").write_text("".join(f"{en}\t{xx}\n" for en, xx in rows), encoding="utf-8")
    (folder / "text.txt").write_text("".join(line + "\n" for line in inputs.text), encoding="utf-8")
    return InputFiles(
        None, (str(bitext_file),), (str(folder / "en.vec"), str(folder / "xx.vec.gz")), (str(folder / "words.tsv"),),
        (str(folder / "text.txt"),),
    )  # fmt: skip


def test_only_what_a_method_works_from_is_read(files: InputFiles) -> None:
    assert files.given == {"bitext", "vectors", "lexicon", "text"}
    files.check()
    assert files.read("wechsel").given == {"vectors", "lexicon"}
    assert files.read("ramen").given == {"bitext"}
    assert files.read("focus").given == {"text"}
    assert files.read("mean").given == set()
    assert InputFiles.from_dict(json.loads(json.dumps(files.as_dict()))) == files


def test_files_that_are_not_there_are_named() -> None:
    for files, error in (
        (InputFiles(table="gone.npz"), TableError), (InputFiles(bitext=("gone.tsv",)), CorpusError),
        (InputFiles(vectors=("gone.vec", "gone.vec")), CorpusError), (InputFiles(lexicon=("gone.tsv",)), CorpusError),
        (InputFiles(text=("gone.txt",)), CorpusError),
    ):  # fmt: skip
        with pytest.raises(error, match=r"'gone\.\w+' does not exist"):
            files.check()


def test_init_writes_the_rows_of_a_method(command, tmp_path, model_folder, files, foreign) -> None:  # type: ignore[no-untyped-def]
    foreign.save_pretrained(tmp_path / "tokenizer")
    out = tmp_path / "out"
    status, said, _ = command(
        "init", model_folder, tmp_path / "tokenizer", "--method", "wechsel", "--vectors", ",".join(files.vectors),
        "--lexicon", files.lexicon[0], "--out", out, "--json",
    )  # fmt: skip
    assert status == 0
    report = json.loads(said)
    assert report["method"] == "wechsel"
    assert report["shares"]["vectors"] > 0.1
    source, written = load_model(model_folder), load_model(out)
    made = initialise("wechsel", source.tokenizer, foreign, files.read("wechsel"))
    expected = vocabulary_parameters(graft_with(source, foreign, made).model)["input"]
    assert torch.equal(vocabulary_parameters(written.model)["input"], expected)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--method", "wechsel"], "'wechsel' needs"),
        (["--method", "focus"], "'focus' needs text of the new language (--text)"),
        ([], "'lingraft' needs a translation table (--table), or sentence pairs (--bitext)"),
        (["--method", "wechsel", "--vectors", "one.vec", "--lexicon", "w.tsv"], "--vectors takes two files"),
        (["--method", "ramen", "--bitext", "gone.tsv"], "'gone.tsv' does not exist"),
    ],
)
def test_init_refuses_a_method_without_its_inputs(  # type: ignore[no-untyped-def]
    command, tmp_path, model_folder, options, named
) -> None:
    status, out, err = command("init", model_folder, model_folder, "--out", tmp_path / "out", *options)
    assert (status, out) == (2, "")
    assert named in err
    assert not (tmp_path / "out").exists()
