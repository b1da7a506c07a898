"""Prints the table of model families and what was checked with each, in Markdown: docs/families.md.

    python tools/families.py > docs/families.md

It runs the very steps that tests/surgery/test_families.py runs, on the same tiny random models.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
import transformers

import families

_HEAD = """# Model families

Every family below is checked as a tiny random model with each kind of tokenizer its models come with, input and output
embeddings tied and untied, and, tied (or as it is, where there is no choice), grafted onto a tokenizer of every kind:
{targets}. Tested with transformers {version}, torch {torch}.
Made by `python tools/families.py > docs/families.md`; the test suite runs the same steps.

| step | what is asserted |
|---|---|
{steps}

A cell says how many combinations of tokenizers passed; anything else is the first failure.

| family | model | tokenizers | type | onto | {names} |
|---|---|---|---|---|{rules}|
"""

_TAIL = """
Qwen2 takes byte-level tokenizers with its own pre-tokenizer alone: transformers reads the tokenizer beside a Qwen2
model as `Qwen2Tokenizer`, whatever the files say. Another kind is refused before any work.
That pre-tokenizer cuts words of Hindi, Thai and other scripts at their vowel signs, which a tokenizer that is trained
for any other family does not (`vocabulary/marks.py`).

Tasks: `lingraft.swap` is tested for all families with `...ForSequenceClassification`, `...ForTokenClassification`,
`...ForQuestionAnswering` (where transformers has the form), lingraft's parsers, and sentence encoders with pooling, a
dense layer and normalisation (tests/tasks/test_swap_families.py).
"""


def passed(cell: families.Cell) -> dict[str, str]:
    """Step -> empty, or the first line of what went wrong, after which nothing more is tried."""
    said: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = families.Run(cell, Path(folder))
        for name, step in families.STEPS.items():
            try:
                step(run)
            except Exception as error:
                said[name] = f"{cell.source} to {cell.target}: {str(error).splitlines()[0] if str(error) else error!r}"
                break
            said[name] = ""
    return said


def main() -> None:
    """Prints the page; status 1 if anything failed."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows: dict[tuple[str, bool], list[tuple[families.Cell, dict[str, str]]]] = defaultdict(list)
    for cell in families.cells():
        rows[cell.family, cell.tied].append((cell, passed(cell)))
        sys.stderr.write(".")
        sys.stderr.flush()
    steps = "\n".join(f"| {name} | {step.__doc__} |" for name, step in families.STEPS.items())
    sys.stdout.write(
        _HEAD.format(
            targets=", ".join(families.KINDS), version=transformers.__version__, torch=torch.__version__.split("+")[0],
            steps=steps, names=" | ".join(families.STEPS), rules="---|" * (len(families.STEPS) - 1) + "---",
        )
    )  # fmt: skip
    failed = False
    for (name, tied), found in rows.items():
        family = families.FAMILIES[name]
        cells = []
        for step in families.STEPS:
            wrong = [said[step] for _, said in found if said.get(step)]
            failed |= bool(wrong)
            ran = sum(step in said for _, said in found)
            cells.append(wrong[0].replace("|", "\\|") if wrong else f"{ran} of {len(found)}")
        sources = ", ".join(dict.fromkeys(cell.source for cell, _ in found))
        onto = ", ".join(dict.fromkeys(cell.target for cell, _ in found))
        choice = f", {'tied' if tied else 'untied'}" if len(family.tied) > 1 else ""
        model = f"{family.config.__name__.removesuffix('Config')}{choice}"
        dtype = str(family.dtype).removeprefix("torch.")
        sys.stdout.write(f"| {name} | {model} | {sources} | {dtype} | {onto} | {' | '.join(cells)} |\n")
    sys.stdout.write(_TAIL)
    sys.exit(failed)


if __name__ == "__main__":
    main()
