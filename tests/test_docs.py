"""What README.md and the guides show is run, page by page, word for word, on small files and models of those names."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import pages
from lingraft import cli, comparison, demo, settling, texts
from lingraft.described import described
from lingraft.evidence import builtin
from lingraft.evidence.alignment import AlignerSettings
from lingraft.surgery.initialisers import isolated
from lingraft.tasks.parsing import ParserSettings
from lingraft.tasks.settings import FinetuneSettings
from lingraft.training import meter
from pages import ROOT, Block, blocks

sys.path.insert(0, str(ROOT / "docs" / "_ext"))

#: every page of the site and the README; the benchmarks' results are of runs that take hours, and of data of the lab
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"bash", "python", "yaml", "text"}


def _named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _shown(page: Path) -> list[Block]:
    """The blocks of a page that are no directives of the site."""
    return [block for block in blocks(page) if not block.language.startswith("{")]


def _runs(block: Block) -> bool:
    return not block.not_run and block.language in ("bash", "python")


#: pages with something to run
RUN = [page for page in PAGES if any(map(_runs, _shown(page)))]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files and models of all pages."""
    return pages.library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def lexicons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beginnings of the package's lexicons."""
    return pages.small_lexicons(tmp_path_factory.mktemp("data") / "lexicons")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, library: Path, lexicons: Path, tmp_path: Path) -> Path:
    """A folder with the pages' files; training lasts two steps, and the package's lexicons are short.

    Nothing is done in a process of its own, and no transfer makes a report, which `lingraft report` does on a page.
    """

    def two_steps(recipe, kind):
        resolved = resolve(recipe, kind)
        short = {"steps": 2, "tokens": None, "budget": None, "head_steps": 1, "evaluations": 1, "batch_size": 2}
        return resolved.model_copy(update=short | {"sequence_length": min(32, resolved.sequence_length)})

    resolve = settling.resolve_training
    for module in (settling, comparison):
        monkeypatch.setattr(module, "resolve_training", two_steps)
    monkeypatch.setattr(isolated, "_answer", lambda job, _, on_progress: isolated.run_job(job, on_progress))
    monkeypatch.setattr(sys.modules["lingraft.transfer"], "add_report", lambda *_: None)
    monkeypatch.setattr(meter, "matrix_rate", lambda *_: 1e9)
    monkeypatch.setattr(builtin, "_FOLDER", lexicons)
    monkeypatch.setattr(texts, "lexicon_text", functools.partial(texts.lexicon_text, tokens=3000))
    monkeypatch.setattr(demo, "demo_model", lambda: library / "sentence-transformers" / "all-MiniLM-L6-v2")
    folder = tmp_path / "page"
    shutil.copytree(library, folder, copy_function=os.link)
    monkeypatch.chdir(folder)
    return folder


def _run(place: str, words: list[str], command) -> None:
    if words[0] == "lingraft":
        status, out, said = command(*words[1:])
        # files of a language that has none here are French, as the doctor says
        found = words[1] == "doctor" and "This run would" in out
        assert status == 0 or (status == 2 and found), f"{place}: {' '.join(words)}: {said}"
    else:
        assert words[0] in ("head", "cat"), f"{place}: '{words[0]}' is nothing that these tests run"
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("page", RUN, ids=_named)
def test_what_a_page_shows_can_be_done(page: Path, small: Path, command):
    names: dict[str, object] = {"__name__": "page"}
    for block in _shown(page):
        place = f"{_named(page)}:{block.line}"
        if block.file:
            (small / block.file).write_text(block.text + "\n", encoding="utf-8")
        if block.not_run:
            continue
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, place, "exec"), names)  # noqa: S102
        elif block.language == "bash":
            for words in block.commands:
                _run(place, words, command)


def _parse(words: list[str]) -> None:
    """Fails where a command of lingraft or its options do not exist; ``...`` stands for more of them."""
    command, name = typer.main.get_command(cli.app), "lingraft"
    rest = words[1:]
    while hasattr(command, "commands"):
        name = f"{name} {rest[0]}"
        assert rest[0] in command.commands, f"'{name}' is no command"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    unknown = [word for word in rest if word.startswith("--") and word not in known | {"--help"}]
    assert not unknown, f"{name} has no {unknown}"
    if "..." not in rest:
        with pytest.MonkeyPatch.context() as patch:
            for parameter in command.params:
                patch.setattr(parameter, "callback", None)
            command.make_context(name, rest)


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_what_cannot_be_run_here_says_why_and_is_written_right(page: Path):
    extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for block in _shown(page):
        place = f"{_named(page)}:{block.line}"
        assert block.language in LANGUAGES, f"{place}: a block of '{block.language}'"
        if not block.not_run or block.text.startswith("#!"):
            continue
        for words in block.commands:
            if words[0] == "pip":
                assert set(",".join(re.findall(r"\[(.*)\]", " ".join(words))).split(",")) <= extras, place
            elif words[0] == "make":
                assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), f"{place}: {words}"
            elif "lingraft" in words:
                _parse(words[words.index("lingraft") :])
            else:
                raise AssertionError(f"{place}: '{' '.join(words)}' is nothing that can be checked")


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_commands_of_benchmarks_name_what_there_is(page: Path):
    for words in pages.indented_commands(page):
        if words[0] == "lingraft":
            _parse(words)
            continue
        script = ROOT / words[1]
        source = script.read_text(encoding="utf-8")
        # what several scripts share is in modules beside them
        source += "".join(path.read_text(encoding="utf-8") for path in script.parent.glob("*.py"))
        missing = [word for word in words if word.startswith("--") and f'"{word}"' not in source]
        assert not missing, f"{_named(page)}: {script.name} has no {missing}"


def test_a_block_without_a_language_or_an_end_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("```\nlingraft demo\n```\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no language"):
        list(blocks(page))
    page.write_text("```bash\nlingraft demo\n", encoding="utf-8")
    with pytest.raises(ValueError, match="not closed"):
        list(blocks(page))
    page.write_text("<!-- not run: no card -->\n```bash\na \\\n  b # c\n\nd\n```\n", encoding="utf-8")
    assert [(block.not_run, block.commands) for block in blocks(page)] == [("no card", [["a", "b"], ["d"]])]


def test_options_that_do_not_exist_are_found():
    with pytest.raises(AssertionError, match="has no"):
        _parse(["lingraft", "transfer", "model", "--too", "fr", "..."])
    with pytest.raises(AssertionError, match="no command"):
        _parse(["lingraft", "transfers", "model"])


def test_the_numbers_of_the_first_page_are_results():
    readme, results = ((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/results.md"))
    cells = re.findall(r"(?<=\| )\d+\.\d+(?: / \d+\.\d+)?(?= \|)", readme)
    assert len(cells) > 40
    assert not [cell for cell in cells if not re.search(rf"(?<![\d.]){re.escape(cell)}(?![\d.])", results)]


def test_every_key_and_setting_says_what_it_does():
    from generated import recipe_sections

    classes = [section for _, section in recipe_sections()]
    assert len(classes) == 7
    for documented in [*classes, AlignerSettings, FinetuneSettings, ParserSettings]:
        for one in described(documented):
            assert len(one.effect) > 8, f"{documented.__name__}.{one.name}"
            assert not one.effect.endswith("."), one.name
            assert one.type, one.name
            numeric = one.type.startswith(("whole number", "number"))
            unitless = ("learning_rate", "seed")
            assert one.unit or not numeric or one.name.endswith(unitless), f"{one.name} has no unit"


def test_every_command_and_option_says_what_it_does():
    from generated import commands

    listed = dict(commands())
    assert {"lingraft transfer", "lingraft evaluate nli"} <= listed.keys()
    for name, command in listed.items():
        assert command.callback.__doc__, name
        for parameter in command.params:
            assert parameter.help or parameter.name == "help", f"{name} {parameter.name}"


def test_running_text_of_a_docstring_becomes_a_list():
    from prose_parameters import split

    found = split("Does it. one: the first; more. two, three: others: these. Raises X for y.", {"one", "two", "three"})
    assert found == [
        "Does it.", "", "``one``", "    the first; more.", "``two`` ``three``", "    others: these.", "",
        "Raises X for y.", "", "",
    ]  # fmt: skip
    assert split("No names here: none.", {"one"}) == ["No names here: none.", "", ""]
