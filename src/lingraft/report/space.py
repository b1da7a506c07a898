"""Both vocabularies in one plane: where the new rows lie among the English ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..surgery.rows import read_rows
from .folder import LanguageFolder
from .translations import Array, Translations

#: tokens of the new language that are shown, at most
MOST = 800

#: the narrowest picture that labels must not overlap in: its width and height in letters
_WIDTH, _HEIGHT = 52.0, 26.0

_LABELS = 40


@dataclass(frozen=True)
class Map:
    """Points in the plane of the two directions in which the rows differ most.

    target, source: positions, float64 (n, 2) and (m, 2). links: for each target token the place in ``source`` of its
    most probable English token. labelled: places in ``target``. explained: share of the variance, of both directions.
    """

    target: Array
    target_texts: list[str]
    source: Array
    source_texts: list[str]
    links: list[int]
    labelled: list[int]
    explained: tuple[float, float]


def make_map(folder: LanguageFolder, translations: Translations, most: int = MOST) -> Map | None:
    """Principal components of frequent tokens of the new language and of their English ones; None for too few.

    Rows are brought to length 1 first, as it is their direction that says what a token means. Only the rows shown are
    read of both models.
    """
    from sklearn.decomposition import PCA

    tokens = translations.words(most)
    best = [int(translations.largest(token, 1)[0][0]) for token in tokens]
    columns = sorted(set(best))
    if len(tokens) < 10 or len(columns) < 10:
        return None
    rows = [
        _directions(read_rows(folder.path / "target", tokens).numpy()),
        _directions(read_rows(folder.run.path / "source", columns).numpy()),
    ]
    components = PCA(2, svd_solver="full")
    plane = components.fit_transform(np.concatenate(rows))
    texts = [translations.target[token] for token in tokens]
    place = {column: number for number, column in enumerate(columns)}
    target = plane[: len(tokens)]
    english = [translations.source[column] for column in columns]
    links = [place[column] for column in best]
    return Map(
        target, texts, plane[len(tokens) :], english, links,
        _labelled(plane, [f"{text} · {english[link]}" for text, link in zip(texts, links, strict=True)]),
        tuple(components.explained_variance_ratio_.tolist()),
    )  # fmt: skip


def _directions(rows: Array) -> Array:
    directions: Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return directions


def _labelled(plane: Array, texts: list[str]) -> list[int]:
    """Which points get a label: the most frequent tokens whose labels overlap no other's."""
    low, high = plane.min(0), plane.max(0)
    scaled = (plane - low) / np.maximum(high - low, 1e-9) * [_WIDTH, _HEIGHT]
    boxes: list[tuple[float, float, float, float]] = []
    chosen: list[int] = []
    for number, text in enumerate(texts):
        if text.startswith("-") or len(chosen) == _LABELS:
            continue
        x, y = scaled[number]
        box = (x - len(text) / 2, y, x + len(text) / 2, y + 1.6)
        inside = box[0] >= 0 and box[2] <= _WIDTH
        if inside and all(box[2] < a or box[0] > c or box[3] < b or box[1] > d for a, b, c, d in boxes):
            boxes.append(box)
            chosen.append(number)
    return chosen
