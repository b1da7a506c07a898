"""The report: one HTML file that needs nothing else, made of a finished run's folder alone.

Everything that comes from data goes through Jinja's autoescape or, inside a script element, through `embedded`. By a
content security policy the page forbids itself the network, and every script that it does not bring along.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape

from .. import __version__
from ..cache import write_aside
from ..errors import LingraftError
from . import charts
from .cost import cost_rows, machine_rows
from .findings import Finding, find_all
from .folder import LanguageFolder, RunFolder, open_run, readable_reason
from .inputs import input_rows
from .links import linked_examples
from .scores import bits_of, retrieval_of, score_table
from .space import MOST, make_map
from .translations import Translations
from .vocabulary import fertility_rows, parity, script_rows

#: what a report may have in bytes; the search box gets what the rest leaves
LIMIT = 4_900_000

#: what a language takes in tables and sentences, about, and the least its search box gets
_LANGUAGE, _LEAST = 90_000, 20_000

#: characters that end a script element, or a line of it, inside of JSON
_ESCAPES = {code: f"\\u{code:04x}" for code in map(ord, "<>&\u2028\u2029")}

#: names of curves that do not say for themselves what they are
_TITLES = {"cosine": "Cosine to the English sentence", "tlm": "Loss of translation language modelling"}

#: what a person types or writes into a recipe
_TYPED = re.compile(r"--[a-z][a-z-]*|\b(?:training|corpus|vocabulary|evidence)\.[a-z_]+(?:=\w+)?")

_log = logging.getLogger("lingraft")

T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """A report that was written.

    path: the HTML file. bytes: its size. warnings: what it warns of, and what had to be left out of it.
    """

    path: Path
    bytes: int
    warnings: list[str]


def report(directory: str | Path) -> Report:
    """Writes ``report.html`` into the folder of a finished run, in place of one that may be there.

    directory: the run's. The report is made of that folder alone. Where ``.cache`` was deleted, what needs the text is
    left out, and the report says so. Raises OutputError for a folder that is no finished run.
    """
    page = _Page(open_run(directory))
    html = page.render().encode("utf-8", "replace").decode()  # a file name may be no proper text
    path = Path(directory) / "report.html"
    write_aside(path, html)
    return Report(path, path.stat().st_size, page.warnings)


def embedded(value: Any) -> Markup:
    """JSON for a script element: no character of it can end that, or be read as markup."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))  # noqa: S704 (this is the escaping)


class _Page:
    """What the template gets, gathered part by part."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.findings: list[Finding] = []
        self.left_out: list[str] = []
        self._items: dict[str, Any] = {}

    @property
    def warnings(self) -> list[str]:
        return [str(each) for each in self.findings if each.severity == "warning"] + self.left_out

    def render(self) -> str:
        run, numbers = self.run, self.run.numbers
        folders = [run.of(language) for language in run.languages]
        own = {folder.language: folder.numbers for folder in folders}
        self.findings = find_all(numbers, own)
        languages = [self._language(number, folder) for number, folder in enumerate(folders)]
        training = self._training()
        room = LIMIT - len(charts.script()) - len(embedded(self._items)) - _LANGUAGE * len(folders)
        for language in languages:
            self._search(language, max(_LEAST, room // len(folders)))
        scripts = [Markup(charts.script()), Markup(_asset("report.js"))]  # noqa: S704 (both are the packages' own)
        return _environment().get_template("report.html.j2").render(
            run=numbers, recipe=run.recipe, languages=languages, several=run.recipe.several, findings=self.findings,
            left_out=self.left_out, inputs=input_rows(run), training=training, cost=cost_rows(numbers),
            machine=machine_rows(numbers), version=__version__, style=Markup(_asset("report.css")),  # noqa: S704
            scripts=scripts, policy=_policy(scripts), items=embedded(self._items),
        )  # fmt: skip

    def _part(self, name: str, language: str | None, make: Callable[[], T]) -> T | None:
        """A part of the page, or None, with the reason told, where the folder does not have what it needs."""
        try:
            return make()
        except (LingraftError, OSError) as error:
            self._leave_out(name, language, readable_reason(error))
            return None

    def _leave_out(self, name: str, language: str | None, reason: str) -> None:
        named = f"{language}: {name}" if language and self.run.recipe.several else name
        self.left_out.append(f"{named[:1].upper()}{named[1:]} is left out: {reason}")
        _log.warning("The report is without something. %s", self.left_out[-1])

    def _chart(self, name: str, chart: Any) -> str | None:
        """Keeps a chart, to be drawn in the element whose id this gives."""
        if chart is None:
            return None
        place = f"chart-{len(self._items)}-{name}"
        self._items[place] = charts.item(chart, place)
        return place

    def _language(self, number: int, folder: LanguageFolder) -> dict[str, Any]:
        numbers, tag = folder.numbers, folder.language
        found: dict[str, Any] = {
            "tag": tag, "id": f"language-{number}", "numbers": numbers, "explained": 0.0,
            "parity": parity(numbers["vocabulary"].get("fertility", {})),
            "fertility": fertility_rows(numbers["vocabulary"].get("fertility", {})),
            "shares": self._shares(numbers["table"]), "scores": score_table(numbers["scores"]),
            "frequent": None, "weakest": None, "scripts": None, "links": None, "map": None, "payload": None,
        }  # fmt: skip
        retrieval, bits = retrieval_of(numbers["scores"]), bits_of(numbers["scores"], tag)
        found["retrieval"] = self._chart("retrieval", charts.scores_chart(retrieval, "%", False) if retrieval else None)
        found["bits"] = self._chart("bits", charts.scores_chart(bits, "bits per byte", True) if bits else None)
        translations = self._part("the translation table", tag, lambda: Translations(folder))
        found["translations"] = translations
        if translations is None:
            return found
        found["scripts"] = script_rows(translations)
        if translations.counted:
            found["frequent"], found["weakest"] = translations.frequent(), translations.weakest()
        else:
            self._leave_out(
                "what needs running text (frequent and weak tokens)", tag, "the run's .cache holds no text any more."
            )
        if folder.pairs:
            found["links"] = linked_examples(
                folder.pairs, translations.table, folder.run.source_tokenizer, folder.tokenizer
            )
        else:
            why = (
                "the run's .cache holds no sentence pairs any more." if "bitext" in numbers["corpus"]
                else "the run had no sentence pairs."
            )  # fmt: skip
            self._leave_out("the alignment of example sentences", tag, why)
        most = max(100, MOST // len(self.run.languages))
        plane = self._part("the map of the embeddings", tag, lambda: make_map(folder, translations, most))
        found["map"] = self._chart("map", charts.map_chart(plane) if plane else None)
        found["explained"] = sum(plane.explained) if plane else 0.0
        return found

    def _shares(self, table: dict[str, Any]) -> str | None:
        shares = {"vocabulary": table.get("shares"), "running text": table.get("text_shares")}
        known = {name: share for name, share in shares.items() if share}
        return self._chart("shares", charts.provenance_chart(known) if known else None)

    def _search(self, language: dict[str, Any], limit: int) -> None:
        translations: Translations | None = language["translations"]
        if translations is None:
            return
        language["payload"], language["searchable"] = translations.payload(limit)
        language["tokens"] = len(translations.by_frequency)
        if language["searchable"] < language["tokens"]:
            self._leave_out(
                "part of the search box", language["tag"],
                f"for the size of the file it has the {language['searchable']:,} most frequent of "
                f"{language['tokens']:,} tokens.",
            )  # fmt: skip

    def _training(self) -> dict[str, Any] | None:
        training = self.run.numbers.get("training")
        if not training:
            return None
        history, measured = training.get("history", []), training.get("measured", [])
        keys = [k for entry in history[-1:] for k in entry if k not in ("step", "stage", "seconds", "learning_rate")]
        stems = dict.fromkeys(_stem(key) for key in keys)
        flat = [
            {"step": m["step"], **{k: v["bits_per_byte"] for k, v in m.items() if isinstance(v, dict)}}
            for m in measured
        ]
        bits = {key: self._named(key) for entry in flat[:1] for key in entry if key != "step"}
        drawn = [
            *(
                (
                    _TITLES.get(stem, stem.replace("_", " ").capitalize()),
                    self._chart(
                        "curve",
                        charts.curves_chart(history, {k: self._named(k) for k in keys if _stem(k) == stem}, "mean"),
                    ),
                )
                for stem in stems
            ),
            ("Held-out text", self._chart("held-out", charts.curves_chart(flat, bits, "bits per byte"))),
            (
                "Learning rate",
                self._chart("rate", charts.curves_chart(history, {"learning_rate": "learning rate"}, "rate")),
            ),
        ]
        return {"numbers": training, "charts": [(name, place) for name, place in drawn if place], "lines": len(history)}

    def _named(self, key: str) -> str:
        """The name of a loss with the language's tag in it."""
        stem, language = _stem(key), key.rpartition("_")[2]
        tag = self.run.languages[0] if language == "xx" else language
        return key if stem == key else f"{'bits per byte' if stem == 'lm' else stem.replace('_', ' ')}, {tag}"


def _stem(key: str) -> str:
    """What a loss is of, without its language: ``loss`` of ``loss_fr``."""
    return key.rpartition("_")[0] or key


def _policy(scripts: Sequence[str]) -> str:
    """The content security policy: no network at all, and no script but these."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _typed(text: str) -> Markup:
    """Escaped text with options and recipe keys as code, so that they are not broken across lines."""
    return Markup(_TYPED.sub(r"<code>\g<0></code>", str(escape(text))))  # noqa: S704 (escaped)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=DictLoader({"report.html.j2": _asset("report.html.j2")}), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda share, digits=1: f"{100 * share:.{digits}f} %"
    environment.filters["typed"] = _typed
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["short"] = lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return environment
