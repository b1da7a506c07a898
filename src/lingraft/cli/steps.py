"""Single steps of a transfer: tokenizer, table, init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..cache import refuse_existing, replacing
from ..errors import RecipeError
from .common import (
    BitextOption,
    Display,
    Json,
    LexiconOption,
    Model,
    NoSeed,
    Out,
    Quiet,
    Seed,
    TextOption,
    Tokenizer,
    done,
)
from .evidence import read_sources


def tokenizer(
    model: Model,
    out: Out,
    text: TextOption,
    vocab_size: Annotated[int | None, typer.Option("--vocab-size", help="Tokens in all.")] = None,
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a tokenizer of the same kind as a model's on text of the new language."""
    from ..corpus import Counts, clean_text, read_text
    from ..surgery import load_tokenizer, resolve_model, save_tokenizer
    from ..vocabulary import tokenizer_hash, train_tokenizer

    refuse_existing(out)
    counts = Counts()
    lines = [line for name in text for line in clean_text(read_text(name), 1_000_000, counts)]
    trained = train_tokenizer(load_tokenizer(resolve_model(model)), lines, vocab_size)
    save_tokenizer(trained, out)
    done(as_json, quiet, {"size": len(trained), "hash": tokenizer_hash(trained), "lines": counts.kept}, out)


def table(
    model: Model,
    tokenizer: Tokenizer,
    out: Out,
    bitext: BitextOption = [],  # noqa: B006
    lexicon: LexiconOption = [],  # noqa: B006
    vectors: Annotated[str | None, typer.Option("--vectors", help="Word vectors, EN_FILE,XX_FILE.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="The new language, for --lexicon builtin.")] = None,
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the translation table p(English token | new token) of all evidence that is given."""
    from ..evidence import build_table
    from ..surgery import load_tokenizer, resolve_model

    refuse_existing(out)
    sources, counts = read_sources(bitext, lexicon, vectors, to)
    source, target = load_tokenizer(resolve_model(model)), load_tokenizer(tokenizer)
    with Display(quiet) as display:
        evidence, told = sources.gather(source, target, lambda done, note: display("evidence", done, note))
        made = build_table(source, target, evidence)
    out.parent.mkdir(parents=True, exist_ok=True)
    made.save(out)
    told |= {"rows": made.matrix.shape[0], "pairs": counts.kept, "shares": made.shares()}
    done(as_json, quiet, {"too_long": told.pop("pairs_too_long", 0), **told}, out)


def init(
    model: Model,
    tokenizer: Tokenizer,
    table: Annotated[Path, typer.Option("--table", help="A table made by lingraft table for these two.")],
    out: Out,
    method: Annotated[str, typer.Option("--method", help="lingraft, mean or random.")] = "lingraft",
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the model under the new vocabulary, without any training."""
    from ..evidence import TranslationTable
    from ..surgery import METHODS, graft, load_model, load_tokenizer, save_model, self_check

    if method not in METHODS:
        raise RecipeError(f"--method is one of {', '.join(METHODS)}; given: '{method}'.")
    refuse_existing(out)
    grafted = graft(load_model(model), load_tokenizer(tokenizer), TranslationTable.load(table), method, seed)
    with replacing(out) as aside:
        save_model(grafted, aside)
        checked = self_check(grafted, aside, [])
    done(as_json, quiet, {"rows": len(grafted.tokenizer), "method": method, "self_check": checked}, out)
