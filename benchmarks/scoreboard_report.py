"""The tables and the figure of a scoreboard, of the cells that are there."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from lab import made_with, markdown, other_side, tests_of
from scoreboard_plan import TASKS, Axes, Cell, Row
from scoreboard_store import Record, Store

from lingraft.tasks.intervals import RESAMPLES, Interval, bootstrap_interval

Array = np.ndarray[Any, Any]

TITLES = {
    "xnli": "XNLI test, accuracy", "las": "UD, LAS", "retrieval": "FLORES devtest, retrieval, mean of both directions",
    "supervised": "Supervised parsing, LAS", "projected": "UD, LAS after `lingraft adapt parse`",
    "bits": "Bits per byte of FLORES devtest",
}  # fmt: skip


@dataclass(frozen=True)
class Score:
    """A score of one or several seeds. hits, totals: (seeds, sentences) and (sentences,), as in lingraft's `Counts`."""

    hits: Array
    totals: Array

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return float((self.hits.sum(1) / self.totals.sum()).mean())

    @cached_property
    def interval(self) -> Interval:
        """95 %, over sentences and seeds."""
        return bootstrap_interval(self.hits, self.totals, RESAMPLES)

    @property
    def seeds(self) -> int:
        return len(self.hits)

    def minus(self, other: Score) -> Score:
        """The difference, sentence by sentence, of as many seeds as both have."""
        both = min(self.seeds, other.seeds)
        return Score(self.hits[:both] - other.hits[:both], self.totals)

    def text(self, signed: bool = False) -> str:
        """In percent, with the interval."""
        low, high = self.interval
        form = "{:+.1f}" if signed else "{:.1f}"
        return f"{form.format(100 * self.value)} [{form.format(100 * low)}, {form.format(100 * high)}]"


def mean_of(scores: Sequence[Score]) -> Score:
    """The mean of several languages, each counting the same whatever its number of words.

    The bootstrap draws among the sentences of all, not of each, which makes intervals a little too wide.
    """
    seeds = min(score.seeds for score in scores)
    hits = np.concatenate([score.hits[:seeds] / score.totals.sum() for score in scores], axis=1)
    return Score(hits, np.concatenate([score.totals / score.totals.sum() for score in scores]))


class Board:
    """The cells of a board that are done."""

    def __init__(self, cells: Iterable[Cell], store: Store) -> None:
        self.cells = list(cells)
        self.store = store
        self._records: dict[tuple[str, str, Row, str], list[Record]] = defaultdict(list)
        self._scores: dict[tuple[Any, ...], Score | None] = {}
        self.made: list[Record] = []
        for cell in self.cells:
            record = store.record(cell.unit)
            if record is not None:
                self._records[cell.source, cell.language, cell.row, cell.task].append(record)
                self.made.append(record)

    def results(self, source: str, language: str, row: Row, task: str, test: int = 0) -> list[Record]:
        """What was scored on one of the tests, for every seed that is there."""
        found = self._records.get((source, language, row, task), [])
        return [list(record["result"]["scores"].values())[test] for record in found]

    def score(self, source: str, language: str, row: Row, task: str, name: str = "", test: int = 0) -> Score | None:
        """A score of all seeds that are there."""
        asked = (source, language, row, task, name, test)
        if asked not in self._scores:
            self._scores[asked] = self._score(*asked)
        return self._scores[asked]

    def _score(self, source: str, language: str, row: Row, task: str, name: str, test: int) -> Score | None:
        results = self.results(source, language, row, task, test)
        if not results:
            return None
        counts = [result["counts"][name or TASKS[task][1]] for result in results]
        hits = np.stack([np.array(each["hits"].split(), dtype=float) for each in counts])
        return Score(hits, np.array(counts[0]["totals"].split(), dtype=float))

    def rows(self, source: str, task: str) -> list[Row]:
        """Rows of a model in a task, in the order they were asked for."""
        found = [
            cell.row for cell in self.cells if (cell.source, cell.task) == (source, task) and cell.language != "en"
        ]
        return list(dict.fromkeys(found))

    def graft(self, source: str, language: str, row: Row) -> Record:
        """The record of the run behind a row: coverage, steps and the like."""
        for cell in self.cells:
            if (cell.source, cell.language, cell.row) == (source, language, row):
                for need in cell.unit.needs():
                    if need.like[0] == "graft":
                        return self.store.record(need) or {}
        return {}


class Report:
    """Markdown of a board."""

    def __init__(self, board: Board, axes: Axes) -> None:
        self.board, self.lab, self.languages = board, axes.lab, axes.languages
        self.sources, self.baselines = list(axes.sources), list(axes.baselines)

    def text(self) -> str:
        """All tables that have a number."""
        parts: list[str] = []
        for source in self.sources:
            parts += [self.informed(source, task) for task in ("xnli", "las")]
            parts += [self.methods(source, task) for task in ("xnli", "las", "projected", "retrieval", "bits")]
            for baseline in self.baselines:
                parts += [self.against(source, baseline, task) for task in ("xnli", "las", "projected", "retrieval")]
            parts += [self.evidence(source), self.directions(source), self.other_scores(source)]
        parts += [self.supervised(), self.bits(), self.costs(), self.made()]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _table(self, title: str, rows: Sequence[Sequence[str]], columns: Sequence[str], note: str = "") -> str:
        if not any(cell for row in rows for cell in row[1:]):
            return ""
        return f"### {title}\n\n{markdown(['', *columns], rows)}" + (f"\n\n{note}" if note else "")

    def _line(self, scores: Sequence[Score | None], signed: bool = False) -> list[str]:
        """Scores of the languages and their mean, where all are there."""
        found = [score for score in scores if score is not None]
        mean = mean_of(found).text(signed) if len(found) == len(scores) > 1 else ""
        return [score.text(signed) if score else "" for score in scores] + ([mean] if len(scores) > 1 else [])

    @property
    def _columns(self) -> list[str]:
        return [*self.languages, *([f"mean of {len(self.languages)}"] if len(self.languages) > 1 else [])]

    def _scores(self, source: str, row: Row, task: str, name: str = "") -> list[Score | None]:
        return [self.board.score(source, language, row, task, name) for language in self.languages]

    def _differences(self, one: Sequence[Score | None], other: Sequence[Score | None]) -> list[Score | None]:
        pairs = zip(one, other, strict=True)
        return [left.minus(right) if left and right else None for left, right in pairs]

    def informed(self, source: str, task: str) -> str:
        """Informed against random rows at the same budget, in points."""
        rows = self.board.rows(source, task)
        lines = []
        for row in rows:
            random = Row("random", row.budget)
            if row.method == "lingraft" and random in rows:
                pair = self._scores(source, row, task), self._scores(source, random, task)
                lines += [[each.name, *self._line(scores)] for each, scores in zip((row, random), pair, strict=True)]
                lines.append(["gap, points", *self._line(self._differences(*pair), signed=True)])
        return self._table(f"{source}: informed against random rows, {TITLES[task]}", lines, self._columns)

    def methods(self, source: str, task: str) -> str:
        """All methods at the same budget, with their ranks; a star where the best one's interval overlaps."""
        parts = []
        by_budget: dict[str | None, list[Row]] = defaultdict(list)
        for row in self.board.rows(source, task):
            if not row.recipe and (row.method != "untouched" or task == "bits"):
                by_budget[row.budget].append(row)
        for budget, rows in by_budget.items():
            if len(rows) < 2:
                continue
            columns = {language: self._ranked(source, language, rows, task) for language in self.languages}
            lines = [[row.method, *(columns[language].get(row, "") for language in self.languages)] for row in rows]
            told = "without training" if budget is None else f"with {budget} of training"
            note = "In parentheses the rank; * the interval overlaps with that of the first."
            parts.append(self._table(f"{source}: all methods {told}, {TITLES[task]}", lines, self.languages, note))
        return "\n\n".join(part for part in parts if part)

    def _ranked(self, source: str, language: str, rows: Sequence[Row], task: str) -> dict[Row, str]:
        if task == "bits":
            bits = {row: self.board.results(source, language, row, task) for row in rows}
            found = {row: _bits(results) for row, results in bits.items() if results}
            order = sorted(found, key=lambda row: found[row][0])
            first = found[order[0]][1] if order else (0.0, 0.0)
            shown = {row: f"{value:.3f} [{low:.3f}, {high:.3f}]" for row, (value, (low, high)) in found.items()}
            overlap = {row: low <= first[1] for row, (_, (low, _)) in found.items()}
        else:
            scores = {row: self.board.score(source, language, row, task) for row in rows}
            there = {row: score for row, score in scores.items() if score is not None}
            order = sorted(there, key=lambda row: -there[row].value)
            best = there[order[0]].interval.low if order else 0.0
            shown = {row: score.text() for row, score in there.items()}
            overlap = {row: score.interval.high >= best for row, score in there.items()}
        return {
            row: f"{shown[row]} ({rank}{'*' if rank > 1 and overlap[row] else ''})" for rank, row in enumerate(order, 1)
        }

    def against(self, source: str, baseline: str, task: str) -> str:
        """Every row of a source next to the multilingual model, which has no trees carried over."""
        untouched, like = Row("untouched"), "las" if task == "projected" else task
        theirs = self._scores(baseline, untouched, like)
        lines = []
        for name in (baseline, source):
            english = self.board.score(name, "en", untouched, like)
            if english:
                lines.append([f"{name}, in English", english.text(), *[""] * (len(self._columns) - 1)])
        lines.append([baseline, *self._line(theirs)])
        for row in self.board.rows(source, task):
            ours = self._scores(source, row, task)
            lines.append([f"{source}, {row.name}", *self._line(ours)])
            if row.method == "lingraft" or row.recipe:
                differences = self._differences(ours, theirs)
                above = sum(each is not None and each.value > 0 for each in differences)
                lines.append([f"above {baseline} in {above}, points", *self._line(differences, signed=True)])
        if not any(theirs) or not self.board.rows(source, task):
            return ""
        note = "The English score stands in the first column." if task != "retrieval" else ""
        if task == "projected":
            note += f" {baseline} and the English scores are without trees carried over."
        return self._table(f"{source} against {baseline}, {TITLES[task]}", lines, self._columns, note)

    def evidence(self, source: str) -> str:
        """What may explain where a language falls short: coverage, fertility, quality of the rows."""
        lines = []
        order = {each: other_side(*(tests_of(self.lab, "parse", side)[0] for side in ("en", each)))
                 for each in self.languages if any(cell.task == "las" for cell in self.board.cells)}  # fmt: skip
        for row in self.board.rows(source, "xnli") or self.board.rows(source, "las") or self.board.rows(source, "bits"):
            if not (row.method == "lingraft" or row.recipe):
                continue
            for language in self.languages:
                run = self.board.graft(source, language, row).get("result") or {}
                if not run:
                    continue
                found = self.board.score(source, language, row, "retrieval")
                results = [
                    result
                    for task in ("retrieval", "bits")
                    for result in self.board.results(source, language, row, task)
                ]
                text = results[0]["text"] if results else None
                training = run.get("training", {})
                lines.append([
                    f"{language}, {row.name}", f"{run['corpus'].get('bitext', {}).get('kept', 0):,}",
                    f"{run['vocabulary']['size']:,}", f"{100 * run['table']['text_coverage']:.2f}",
                    f"{100 * run['table']['shares'].get('fallback', 0.0):.1f}",
                    f"{text['tokens'] / text['words']:.2f}" if text else "",
                    f"{text['tokens'] / text['characters']:.3f}" if text else "",
                    f"{100 * found.value:.1f}" if found else "",
                    f"{100 * order[language]:.1f}" if language in order else "",
                    f"{training['steps']:,}" if training else "",
                ])  # fmt: skip
        columns = ["pairs", "tokens of the vocabulary", "running text with evidence %", "rows without evidence %",
                   "tokens a word", "tokens a character", "retrieval %",
                   "words on another side %", "steps"]  # fmt: skip
        note = (
            "Tokens a word and a character: FLORES devtest; words are what stands between spaces. Words on another "
            "side: of their head than words of the same relation are in English, in the treebanks of the table."
        )
        return self._table(f"{source}: what the grafts rest on", lines, columns, note)

    def directions(self, source: str) -> str:
        """Retrieval in both directions."""
        lines = []
        for name in (*self.baselines, source):
            for row in self.board.rows(name, "retrieval"):
                cells = []
                for language in self.languages:
                    both = [
                        self.board.score(name, language, row, "retrieval", side) for side in ("en_to_xx", "xx_to_en")
                    ]
                    cells.append(" / ".join(f"{100 * score.value:.1f}" for score in both if score))
                lines.append([f"{name}, {row.name}", *cells])
        return self._table(f"{source}: FLORES devtest, English to new / new to English", lines, self.languages)

    def other_scores(self, source: str) -> str:
        """UAS, LAS without punctuation, and the further treebanks."""
        parts = []
        for name, title in (("uas", "UAS"), ("las_without_punct", "LAS without punctuation")):
            lines = [
                [f"{model}, {row.name}", *self._line(self._scores(model, row, "las", name))]
                for model in (*self.baselines, source) for row in self.board.rows(model, "las")
            ]  # fmt: skip
            parts.append(self._table(f"{source}: UD, {title}", lines, self._columns))
        return "\n\n".join(part for part in parts if part)

    def supervised(self) -> str:
        """Parsers trained in the language itself."""
        languages = [each for each in self.languages if any(c.language == each and c.task == "supervised"
                                                            for c in self.board.cells)]  # fmt: skip
        lines = []
        for model in (*self.baselines, *self.sources):
            for row in self.board.rows(model, "supervised"):
                scores = [self.board.score(model, each, row, "supervised", name)
                          for each in languages for name in ("las", "uas")]  # fmt: skip
                lines.append([f"{model}, {row.name}", *(score.text() if score else "" for score in scores)])
        return self._table(
            "Supervised parsing", lines, [f"{each} {name}" for each in languages for name in ("LAS", "UAS")]
        )

    def bits(self) -> str:
        """Decoders: bits per byte and tokens a word, grafted and with the model's own tokenizer."""
        lines = []
        for source in self.sources:
            for row in self.board.rows(source, "bits"):
                cells = []
                for language in self.languages:
                    results = self.board.results(source, language, row, "bits")
                    if not results:
                        cells += ["", ""]
                        continue
                    value, (low, high) = _bits(results)
                    text = results[0]["text"]
                    cells += [f"{value:.3f} [{low:.3f}, {high:.3f}]", f"{text['tokens'] / text['words']:.2f}"]
                lines.append([f"{source}, {row.name}", *cells])
        columns = [f"{each} {what}" for each in self.languages for what in ("bits per byte", "tokens a word")]
        note = "untouched: the English model with its own tokenizer; with a budget, trained on the same text."
        return self._table(TITLES["bits"], lines, columns, note)

    def costs(self) -> str:
        """What the work took, by kind."""
        taken: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
        for record in self.board.store.records():
            seconds = record["seconds"]
            if seconds["wall"] is not None:
                taken[tuple(record["like"])].append((seconds["wall"], seconds["cpu"]))
        lines = [
            [" ".join(like), str(len(each)), *(f"{statistics.median(part):,.0f}" for part in zip(*each, strict=True))]
            for like, each in sorted(taken.items())
        ]
        return self._table("Seconds of the work, medians", lines, ["times", "wall", "CPU"])

    def made(self) -> str:
        """Machines, versions and seeds."""
        lines = sorted({f"{made_with(each)} ({each['machine']['cuda'] or 'no card'})" for each in self.board.made})
        seeds = defaultdict(set)
        for cell in self.board.cells:
            if self.board.store.record(cell.unit):
                seeds[cell.task].add(cell.seed)
        told = "; ".join(f"{task}: {', '.join(map(str, sorted(each)))}" for task, each in seeds.items())
        notes = [
            "Seeds of retrieval and bits are those of the graft, of the others those of the fine-tuning. "
            f"Seeds that are there: {told}." if told else "",
            "Intervals are 95 %, by bootstrap over sentences and seeds; differences are paired.",
        ]  # fmt: skip
        return "\n".join([*lines, *filter(None, notes)]) if lines else "No cell is there yet."


def _bits(results: Sequence[Record]) -> tuple[float, tuple[float, float]]:
    """Mean bits per byte over seeds and, as an interval, the hull of theirs."""
    intervals = [result["intervals"]["bits_per_byte"] for result in results]
    value = statistics.mean(result["bits_per_byte"] for result in results)
    return value, (min(low for low, _ in intervals), max(high for _, high in intervals))


def figure(report: Report, path: Path) -> None:
    """Every task a panel, every language a group, every row a mark with its interval; an SVG a board."""
    from matplotlib.figure import Figure

    board, languages = report.board, report.languages
    panels = [
        (source, task) for source in report.sources for task in ("xnli", "las", "retrieval")
        if any(board.score(source, each, row, task) for each in languages for row in board.rows(source, task))
    ]  # fmt: skip
    if not panels:
        return
    drawing = Figure(figsize=(8, 2.9 * len(panels)), layout="constrained")
    axes = drawing.subplots(len(panels), squeeze=False)[:, 0]
    for panel, (source, task) in zip(axes, panels, strict=True):
        shown = [(each, Row("untouched")) for each in report.baselines] + [
            (source, r) for r in board.rows(source, task)
        ]
        for number, (name, row) in enumerate(shown):
            places, values, errors = [], [], []
            for place, language in enumerate(languages):
                score = board.score(name, language, row, task)
                if score is not None:
                    low, high = score.interval
                    places.append(place + 0.7 * (number / max(1, len(shown) - 1) - 0.5))
                    values.append(100 * score.value)
                    errors.append((100 * (score.value - low), 100 * (high - score.value)))
            if values:
                label = name if name in report.baselines else row.name
                panel.errorbar(places, values, np.array(errors).T, fmt="s" if name in report.baselines else "o",
                               markersize=4, capsize=2, label=label)  # fmt: skip
        panel.set_xticks(range(len(languages)), languages)
        panel.set(title=f"{source}: {TITLES[task]}", ylabel="%")
        panel.grid(visible=True, axis="y", alpha=0.3)
        panel.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    drawing.savefig(path)
