from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module

# two test processes on two cores: more threads than that only wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import tiny
from lingraft.surgery import LanguageModel, from_transformers

torch.set_num_threads(1)

# how fast a busy machine makes examples says nothing of the code
settings.register_profile("lingraft", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lingraft")


@pytest.fixture(scope="session", autouse=True)
def real_report() -> Iterator[Callable[..., None]]:
    """What a transfer ends with, for the tests of it; all others go without, as it would take as long as their runs."""
    module = import_module("lingraft.transfer")
    with pytest.MonkeyPatch.context() as patch:
        real = module.add_report
        patch.setattr(module, "add_report", lambda *_: None)
        yield real


@pytest.fixture(scope="session")
def wordpiece() -> PreTrainedTokenizerFast:
    """The WordPiece tokenizer, trained once."""
    return tiny.wordpiece_tokenizer()


@pytest.fixture(params=sorted(tiny.TOKENIZERS))
def any_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """Each kind of tokenizer."""
    return tiny.TOKENIZERS[request.param]()


@pytest.fixture
def masked(wordpiece: PreTrainedTokenizerFast) -> LanguageModel:
    """A small BERT with its head."""
    return from_transformers(tiny.bert(wordpiece), wordpiece)


def on_disk(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Writes a model with its tokenizer; gives the folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def as_tsv(path: Path, pairs: list[tuple[str, str]]) -> Path:
    """Writes sentence pairs; gives the path."""
    path.write_text("".join(f"{en}\t{xx}\n" for en, xx in pairs), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked model on disk."""
    tokenizer = tiny.wordpiece_tokenizer()
    return on_disk(tmp_path_factory.mktemp("models") / "bert", tiny.bert(tokenizer), tokenizer)


@pytest.fixture(scope="session")
def sentence_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder on disk."""
    return Path(tiny.sentence_folder(str(tmp_path_factory.mktemp("models") / "sentence")))


@pytest.fixture(scope="session")
def bitext_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cipher bitext as a TSV."""
    return as_tsv(tmp_path_factory.mktemp("text") / "bitext.tsv", tiny.cipher_pairs())


@pytest.fixture(scope="session")
def heldout_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of the cipher language that are not in the bitext."""
    return as_tsv(tmp_path_factory.mktemp("text") / "heldout.tsv", tiny.cipher_pairs(40, seed=7))


@pytest.fixture(scope="session")
def causal_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model on disk."""
    tokenizer = tiny.bytebpe_tokenizer()
    return on_disk(tmp_path_factory.mktemp("models") / "gpt2", tiny.gpt2(tokenizer), tokenizer)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs the command line in this process and gives (exit status, standard output, standard error)."""
    from lingraft import cli

    for name in (
        "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS", "TRANSFORMERS_VERBOSITY",
        "TOKENIZERS_PARALLELISM", "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
    ):  # fmt: skip
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)
    logger = logging.getLogger("sentence_transformers")
    level = logger.level

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lingraft", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, err

    yield run
    logger.setLevel(level)


#: has processes do something together: (name, processes, folder, **arguments) to statuses and results; see ranks.py
Ranks = Callable[..., dict]


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """Starts processes that work together; see ranks.py."""
    program = [sys.executable, "-W", "error", str(Path(__file__).with_name("ranks.py"))]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout

        def run(name: str, processes: int, folder: Path, **arguments: object) -> dict:
            folder.mkdir(exist_ok=True)
            job = {"name": name, "processes": processes, "folder": str(folder), "arguments": arguments}
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())

        yield run
        server.stdin.close()


def returned(done: dict) -> Any:
    """What the leader returned; all must have ended well."""
    assert set(done["statuses"]) == {0}, done
    return done["results"][0]["returned"]
