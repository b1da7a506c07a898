"""What went into a run: every file with its role, size and hash, and what is known of its licence."""

from __future__ import annotations

from typing import Any

from ..cache import CARD
from ..corpus import split_bitext
from ..evidence import BUILTIN, BUILTIN_LICENCE, lexicon_files
from ..recipe import TRAIN
from .card import base_license
from .folder import RunFolder

_KINDS = {"sentence": "sentence encoder", "masked": "masked language model", "causal": "causal language model"}

_UNKNOWN = "not recorded"


def input_rows(run: RunFolder) -> list[dict[str, Any]]:
    """(language, role, name, size, hash, licence) of everything that was read, the model first."""
    numbers = run.numbers
    digests = numbers.get("inputs", {})
    source = numbers.get("source", {})
    kind = _KINDS.get(source.get("kind", ""), "model")
    rows = [_row("", f"English {kind}", source.get("name", run.recipe.source), "", source.get("hash"), _licence(run))]
    if run.recipe.several:
        told = numbers["corpus"].get("en", {}).get("source_text")
        rows += [
            _row("en", "English text", name, _size(told, "lines"), digests.get(name))
            for name in run.recipe.corpus.source_text
        ]
    for language in run.languages:
        given, corpus = run.recipe.given(language), run.of(language).numbers["corpus"]
        tag = language if run.recipe.several else ""
        table = run.of(language).numbers["table"]

        def add(
            role: str, name: str, size: str, digest: str | None = None, licence: str = _UNKNOWN, tag: str = tag
        ) -> None:
            rows.append(_row(tag, role, name, size, digest or digests.get(name), licence))

        for role, names, key, unit in (
            ("sentence pairs", given.bitext, "bitext", "pairs"),
            ("text", given.text, "text", "lines"),
            ("English text", given.source_text, "source_text", "lines"),
            ("held-out pairs", [given.eval_bitext] if given.eval_bitext else [], "eval_bitext", "pairs"),
        ):
            for name in names:
                add(role, name, _size(corpus.get(key), unit), _of_files(name, digests) if unit == "pairs" else None)
        for name in given.lexicon:
            entries = table.get("lexicon_entries", {}).get(name)
            size = f"{entries:,} entries" if entries is not None else ""
            if name == BUILTIN:
                path = str(lexicon_files([name], language)[0])
                add("lexicon", "builtin, of the package", size, digests.get(path), BUILTIN_LICENCE)
            else:
                add("lexicon", name, size)
        if given.vectors:
            trained = given.vectors == TRAIN
            add("word vectors", "trained on the text" if trained else given.vectors, "", None if trained else
                _of_files(given.vectors, digests), "that of the text" if trained else _UNKNOWN)  # fmt: skip
        if given.tokenizer:
            add("tokenizer", given.tokenizer, "")
    return rows


def _licence(run: RunFolder) -> str:
    """The English model's licence, as its card says."""
    card = run.path / "source" / CARD
    said = base_license(card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None)
    return said.get("license_name") or said.get("license") or _UNKNOWN


def _row(tag: str, role: str, name: str, size: str, digest: str | None, licence: str = _UNKNOWN) -> dict[str, Any]:
    return {"tag": tag, "role": role, "name": name, "size": size, "hash": digest or "", "licence": licence}


def _size(counts: dict[str, Any] | None, unit: str) -> str:
    """What was kept of all files of a role together, and what was read where that is more."""
    if not counts:
        return ""
    kept, read = counts.get("kept", 0), counts.get("read", 0)
    return f"{kept:,} {unit}" + (f" of {read:,}" if read > kept else "")


def _of_files(name: str, digests: dict[str, str]) -> str | None:
    """The hash of the one file that a name of a bitext stands for; of two, the first."""
    return next((digests[str(path)] for path in split_bitext(name) if str(path) in digests), None)
