"""The command line: it parses, calls and shows, and knows nothing else.

Results go to standard output (with ``--json`` one JSON object), progress and messages to standard error.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from .. import __version__
from ..errors import LingraftError
from . import alignment, comparison, doctor, publishing, report, steps, tasks, transfer
from .common import ERR
from .several import spoken_once

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Graft a new language onto a pretrained English language model.",
)  # fmt: skip
evaluate_app = typer.Typer(no_args_is_help=True, help="Score a model.")

#: in the order of the help
for _command in (
    transfer.demo, doctor.doctor, transfer.transfer, transfer.resume,
    steps.tokenizer, alignment.align, alignment.score_alignment, alignment.lexicon, steps.table, steps.init,
    comparison.compare,
    tasks.finetune, tasks.swap, tasks.adapt, tasks.parse,
    report.report, publishing.push,
):  # fmt: skip
    app.command(_command.__name__.replace("_", "-"))(_command)
for _name, _score in (
    ("nli", tasks.nli), ("parse", tasks.evaluate_parse), ("tag", tasks.tag),
    ("retrieval", tasks.retrieval), ("lm", tasks.lm),
):  # fmt: skip
    evaluate_app.command(_name)(_score)
app.add_typer(evaluate_app, name="evaluate")


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"lingraft {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False,
) -> None:
    """Graft a new language onto a pretrained English language model."""


def _settle_libraries() -> None:
    """This process is ours: what the libraries below tell and keep for their own users is not for this command's."""
    import os

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # oneDNN keeps 1,024 compiled products, of half a megabyte each, and sentences of all lengths make ever new ones; a
    # step needs a few dozen
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


def main() -> NoReturn:
    """Entry point of the ``lingraft`` command."""
    _settle_libraries()
    try:
        spoken_once(lambda: app(prog_name="lingraft"))
    except LingraftError as error:
        ERR.print(f"lingraft: {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_status)
    except OSError as error:
        where = f"'{error.filename}': " if error.filename else ""
        ERR.print(f"lingraft: {escape(where + (error.strerror or str(error)))}.", soft_wrap=True)
        sys.exit(1)
    sys.exit(0)
