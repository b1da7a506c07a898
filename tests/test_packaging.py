"""What people install and read beside the code: sdist and wheel, citation, issue templates, workflows, changelog."""

from __future__ import annotations

import re
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from hatchling.build import build_sdist, build_wheel

import lingraft

ROOT = Path(__file__).parents[1]
LIMIT = 6_000_000

#: all that may be in the package's folder
PACKAGE = (
    r"(?:(?:[a-z_]+/)*[a-z_]+\.py|py\.typed"
    r"|data/lexicons/(?:en-[a-z]+\.tsv\.xz|README\.md|LICENSE[\w.-]*)"
    r"|data/sample/(?:[\w.-]+\.tsv|README\.md)"
    r"|(?:[a-z_]+/)*[\w.-]+\.(?:html|css|js|json|j2))"
)
WHEEL = re.compile(
    rf"lingraft/{PACKAGE}|lingraft-[\d.]+\.dist-info/(?:METADATA|RECORD|WHEEL|entry_points\.txt|licenses/LICENSE)"
)
SDIST = re.compile(
    rf"src/lingraft/{PACKAGE}"
    r"|PKG-INFO|README\.md|LICENSE|CHANGELOG\.md|CITATION\.cff|CONTRIBUTING\.md|Makefile|pyproject\.toml"
    r"|constraints\.txt|\.gitignore|\.gitattributes|\.ci/run"
    r"|\.github/(?:workflows|ISSUE_TEMPLATE)/[\w-]+\.yml"
    r"|(?:tests|benchmarks|tools)/(?:[\w-]+/)*[\w.-]+\.(?:py|md|json|js|txt)"
    r"|docs/(?:[\w-]+/)*[\w.-]+\.(?:md|svg|png|css|js|py|html|txt)"
    r"|recipes/[\w.-]+\.yaml"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that is made of it, as `python -m build` makes them."""
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        sdist = folder / build_sdist(str(folder))
        with tarfile.open(sdist) as archive:
            archive.extractall(folder / "unpacked", filter="data")
        patch.chdir(next((folder / "unpacked").iterdir()))
        wheel = folder / build_wheel(str(folder))
    return sdist, wheel


def test_nothing_strays_into_the_wheel(built):
    with zipfile.ZipFile(built[1]) as archive:
        names = archive.namelist()
    assert [name for name in names if not WHEEL.fullmatch(name)] == []
    assert len([name for name in names if name.endswith(".tsv.xz")]) == 6
    modules = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src" / "lingraft").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}
    assert "lingraft/py.typed" in names
    assert built[1].stat().st_size < LIMIT


def test_nothing_strays_into_the_sdist(built):
    with tarfile.open(built[0]) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    assert [name for name in names if not SDIST.fullmatch(name)] == []
    assert {"tests/conftest.py", "Makefile", "constraints.txt", ".ci/run", "CITATION.cff"} <= set(names)
    assert built[0].stat().st_size < LIMIT


def test_the_citation_has_what_the_format_asks_for():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == lingraft.__version__
    for entry in [citation, *citation["references"]]:
        assert entry["title"]
        assert all("name" in author or "family-names" in author for author in entry["authors"])
        assert entry["type"] in ("software", "article")


@pytest.mark.parametrize("name", ["bug", "language-result", "feature"])
def test_issue_templates_are_forms(name):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 1
    assert all(field["type"] in ("input", "textarea", "dropdown", "checkboxes") for field in fields)
    assert all(field["attributes"]["label"] for field in fields)


@pytest.mark.parametrize("name", ["ci", "release"])
def test_workflows_name_their_actions_by_major_version_and_may_write_nothing(name):
    path = ROOT / ".github" / "workflows" / f"{name}.yml"
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@(?:release/)?v\d+", action) for action in used)
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


def test_only_what_was_tested_is_released():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    jobs = workflow["jobs"]
    assert jobs["test"]["needs"] == "build"
    assert jobs["publish"]["needs"] == "test"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert [name for name, job in jobs.items() if "id-token" in str(job.get("permissions"))] == ["publish"]


def test_the_versions_are_one():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{lingraft.__version__}"\n' in project


def test_the_changelog_is_a_list_of_changes_by_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert versions[0].split()[0] == lingraft.__version__
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \((?:unreleased|\d{4}-\d\d-\d\d)\)", version) for version in versions)
    groups = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert set(groups) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    entries = re.findall(r"^- (.+(?:\n  .+)*)$", text, re.MULTILINE)
    assert entries
    assert all(len(entry) < 900 and entry.rstrip().endswith((".", ")", ":")) for entry in entries)
