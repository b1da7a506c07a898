from __future__ import annotations

import json
import re
from functools import partial
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest

import lingraft
import tiny
from conftest import as_tsv, on_disk
from lingraft.corpus import Counts, read_bitext
from lingraft.doctor import cost, coverage, examination
from lingraft.errors import InputError, RecipeError
from lingraft.evidence.alignment import BitextAligner, write_lexicon
from lingraft.evidence.alignment.text import encode_pairs
from lingraft.vocabulary import train_tokenizer

RUSSIAN = [f"Старик открыл дверь и увидел {k} детей, которые играли в саду за домом." for k in range(400)]
SAMPLE = str(files("lingraft") / "data" / "sample" / "en-fr.tsv")


@pytest.fixture(scope="module")
def pairs():
    """French sentences and their translations."""
    return list(read_bitext(SAMPLE, Counts()))[:700]


@pytest.fixture(scope="module")
def english_model(pairs, tmp_path_factory):
    """A small random model whose tokenizer knows English."""
    tokenizer = train_tokenizer(tiny.wordpiece_tokenizer(), [english for english, _ in pairs])
    return on_disk(tmp_path_factory.mktemp("model") / "bert", tiny.bert(tokenizer), tokenizer)


@pytest.fixture
def looked_at(english_model):
    """Looks at a French bitext without a probe; gives codes with severities."""

    def look(given, **more):
        result = lingraft.doctor(english_model, to="fr", bitext=given, probe=False, **more)
        assert result.worthless == bool(result.of("error"))
        return {finding.code: finding.severity for finding in result.findings if finding.severity != "info"}

    return look


def half_russian(pairs):
    return [(english, RUSSIAN[k % 400] if k % 2 else foreign) for k, (english, foreign) in enumerate(pairs)]


DAMAGES = {
    "swapped": (lambda pairs: [(other, one) for one, other in pairs], {"swapped-sides": "error"}),
    "shifted": (
        lambda pairs: [(one[0], other[1]) for one, other in pairwise(pairs)], {"shifted": "error"}
    ),
    "another language": (half_russian, {"language": "error"}),
    "mojibake": (
        lambda pairs: [(one, other.encode().decode("latin-1")) for one, other in pairs], {"mojibake": "error"}
    ),
    "English": (
        lambda pairs: [(one, other) for (one, _), (other, _) in zip(pairs, pairs[::-1], strict=True)],
        {"target-is-english": "error"},
    ),
    "duplicates": (lambda pairs: pairs[:490] + pairs[:210], {"duplicates": "warning"}),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_found(looked_at, pairs, damage):
    make, expected = DAMAGES[damage]
    assert expected.items() <= looked_at(make(pairs)).items()


def test_of_clean_text_nothing_is_said_but_that_it_is_little(looked_at, pairs, tmp_path):
    words = [(re.sub(r"[.,!?]", "", one), re.sub(r"[.,!?]", "", other)) for one, other in pairs]
    with BitextAligner(encode_pairs(words, lowercase=True)) as aligner:
        write_lexicon(aligner.lexicon(min_count=0.1), tmp_path / "words.tsv")
    text = lingraft.Lines([foreign for _, foreign in pairs])
    assert looked_at(pairs, text=text, lexicon=tmp_path / "words.tsv") == {"small-corpus": "warning"}


def test_a_corpus_too_small_for_its_vocabulary(english_model, pairs, tmp_path):
    result = lingraft.doctor(english_model, to="fr", bitext=pairs, vocab_size=20_000, probe=False)
    (found,) = result.of("error")
    assert found.code == "vocabulary-too-large"
    assert "20,000 tokens was asked for" in found.found
    # what a transfer says of it
    with pytest.raises(InputError) as refused:
        lingraft.transfer(english_model, to="fr", bitext=pairs, vocab_size=20_000, out=tmp_path / "out")
    assert str(refused.value) == found.found + "."
    small = lingraft.doctor(english_model, to="fr", bitext=pairs[:150], probe=False)
    assert "small-corpus" in [finding.code for finding in small.findings]


def test_a_tokenizer_that_little_is_known_of(english_model, pairs, tmp_path):
    cyrillic = str.maketrans("abdefgiklmnoprstu", "абдефгиклмнопрсту")
    large = train_tokenizer(tiny.wordpiece_tokenizer(), [line.translate(cyrillic) for line in tiny.english_lines()])
    large.save_pretrained(tmp_path / "tokenizer")
    few = [(english, "ба до ре") for english, _ in pairs[:120]]
    result = lingraft.doctor(english_model, to="ru", bitext=few, tokenizer=tmp_path / "tokenizer", probe=False)
    assert "uncovered-vocabulary" in [finding.code for finding in result.findings]


def test_text_without_any_evidence_is_refused_as_a_transfer_refuses_it(english_model, pairs, tmp_path):
    given = {"to": "tlh", "text": lingraft.Lines([foreign for _, foreign in pairs])}
    with pytest.raises(RecipeError) as refused:
        lingraft.transfer(english_model, out=tmp_path / "out", **given)
    with pytest.raises(RecipeError) as also:
        lingraft.doctor(english_model, **given)
    assert str(also.value) == str(refused.value)


def test_only_text(english_model, pairs):
    text = lingraft.Lines([foreign for _, foreign in pairs])
    english = lingraft.Lines([english for english, _ in pairs])
    result = lingraft.doctor(english_model, to="oc", text=text, source_text=english, probe=False)
    assert not result.of("error") or [finding.code for finding in result.of("error")] == ["language"]
    assert result.statistics["oc"]["text_from_vectors"] > 0.5
    assert result.statistics["en"]["english_side"] > 0.9


def test_nothing_at_all_is_the_lexicon_of_the_package(english_model, monkeypatch):
    monkeypatch.setattr(coverage, "lexicon_text", partial(coverage.lexicon_text, tokens=5_000))
    nothing = lingraft.doctor(english_model, to="hi")
    assert not nothing.of("error")
    assert not nothing.of("warning")
    assert nothing.estimates is not None
    assert "training" not in nothing.estimates.seconds


@pytest.fixture
def probed(monkeypatch, sentence_model_folder, model_folder):
    """Estimates of a run on the cipher language."""

    def look(model=sentence_model_folder, **given):
        result = lingraft.doctor(model, to="fr", bitext=tiny.cipher_pairs(200), **given)
        return result.estimates or pytest.fail(str(result.findings))

    # the cipher is no French
    monkeypatch.setattr(examination.language, "language_findings", lambda *_: [])
    monkeypatch.setattr(examination.language, "english_findings", lambda *_: [])
    return look


@pytest.mark.parametrize(
    ("given", "stages", "steps"),
    [({"steps": 40}, {"all"}, 40),
     ({"steps": 40, "settings": {"training.encoder": "shared"}}, {"embeddings"}, 40),
     ({"steps": 40, "settings": {"training.embeddings_share": 0.5}}, {"embeddings", "all"}, 40),
     ({"steps": 40, "objective": "mlm"}, {"head", "embeddings", "all"}, 40)],
    ids=["distill", "frozen", "both", "fresh head"],
)  # fmt: skip
def test_the_probe_times_the_steps_of_the_run(probed, given, stages, steps):
    settings = {"training.batch_size": 4, "training.sequence_length": 16} | given.pop("settings", {})
    made = probed(settings=settings, **given)
    assert set(made.step_seconds) == stages
    assert made.steps == steps
    assert min(made.step_seconds.values()) > 0
    slowest, fastest = max(made.step_seconds.values()), min(made.step_seconds.values())
    assert fastest * steps - 0.1 <= made.seconds["training"] <= slowest * steps + 0.1
    assert made.seconds["total"] == pytest.approx(sum(made.seconds.values()) - made.seconds["total"], abs=0.1)
    assert made.peak_memory_bytes is None or made.peak_memory_bytes > 1e8
    assert made.disk_bytes > 0


def test_a_budget_is_kept(probed):
    made = probed(budget="30s", settings={"training.batch_size": 4})
    assert made.seconds["training"] == pytest.approx(30, rel=0.05)


def test_replicas_take_disk_and_memory_of_their_own(probed):
    one, two, three = (
        probed(steps=2, settings={"training.batch_size": 4, "training.replicas": replicas}) for replicas in (1, 2, 3)
    )
    assert 0 < two.disk_bytes - one.disk_bytes == three.disk_bytes - two.disk_bytes
    assert one.peak_memory_bytes is None or three.peak_memory_bytes > 2 * one.peak_memory_bytes


def test_memory_that_is_not_there(probed, monkeypatch, sentence_model_folder):
    monkeypatch.setattr(cost, "available_memory", lambda: 1_000_000)
    result = lingraft.doctor(sentence_model_folder, to="fr", bitext=tiny.cipher_pairs(200), objective="none")
    assert [finding.code for finding in result.of("error")] == ["memory"]


def test_several_languages(english_model, pairs, tmp_path):
    result = lingraft.doctor(
        english_model, to=["fr", "ru"], bitext={"fr": pairs, "ru": pairs}, probe=False,
    )  # fmt: skip
    assert {finding.language for finding in result.of("error")} == {"ru"}
    assert set(result.statistics) == {"fr", "ru"}
    assert set(result.sampled) == {"fr: bitext", "ru: bitext"}


def content(folder: Path):
    return sorted(folder.rglob("*"))


def test_the_command(command, english_model, pairs, tmp_path):
    bitext = as_tsv(tmp_path / "pairs.tsv", pairs)
    before = content(tmp_path)
    line = ["doctor", english_model, "--to", "fr", "--bitext", bitext, "--steps", "3"]
    line += ["--set", "training.batch_size=2", "--set", "training.sequence_length=16"]
    status, out, err = command(*line, "--json", "--quiet")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert not told["worthless"]
    assert told["estimates"]["steps"] == 3
    assert {"corpus", "vocabulary", "table", "graft", "training", "total"} <= set(told["estimates"]["seconds"])
    assert told["sampled"]["bitext"]["read"] == 700
    assert content(tmp_path) == before


def test_the_command_for_people(command, english_model, pairs, tmp_path):
    bitext = as_tsv(tmp_path / "pairs.tsv", [(other, one) for one, other in pairs])
    line = ["doctor", english_model, "--to", "fr", "--bitext", bitext, "--no-probe", "--quiet"]
    status, out, err = command(*line, "--out", tmp_path / "out")
    assert (status, err) == (2, "")
    assert "swapped-sides" in out
    assert "worthless" in out
    assert "The package has a lexicon of fr: --lexicon builtin adds it" in out
    assert not (tmp_path / "out").exists()
    status, out, _ = command(*line, "--json")
    (found, *_) = json.loads(out)["findings"]
    assert status == 2
    assert set(found) == {"code", "severity", "found", "advice", "language", "where", "numbers"}
    assert (found["code"], found["severity"], found["language"]) == ("swapped-sides", "error", "fr")


@pytest.mark.parametrize(
    ("extra", "reason"),
    [(["--objective", "clm"], "does not fit"), (["--steps", "0"], "training.steps"),
     (["--text", "no"], "does not exist"), (["--set", "training.token_weight=1"], "token_weight")],
)  # fmt: skip
def test_the_command_refuses_what_a_transfer_refuses(command, model_folder, bitext_file, tmp_path, extra, reason):
    messages = []
    for name in ("doctor", "transfer"):
        line = [name, model_folder, "--to", "fr", "--bitext", bitext_file, "--out", tmp_path / "out", "--quiet", *extra]
        status, out, err = command(*line)
        assert (status, out) == (2, "")
        messages.append(err)
    assert messages[0] == messages[1]
    assert reason in messages[0]


def test_an_output_folder_in_the_way_is_told(command, model_folder, bitext_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    line = ["doctor", model_folder, "--to", "fr", "--bitext", bitext_file, "--out", tmp_path / "out"]
    status, _, err = command(*line)
    assert status == 2
    assert "is not empty and holds no run" in err
