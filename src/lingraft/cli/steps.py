"""Single steps of a transfer: tokenizer, table, init."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ..cache import refuse_existing, replacing
from .common import (
    AllowPickle,
    BitextOption,
    Display,
    Json,
    LexiconOption,
    Model,
    NoSeed,
    Out,
    Quiet,
    Seed,
    TableOption,
    TextOption,
    Tokenizer,
    ToOption,
    VectorPairOption,
    done,
)


def tokenizer(
    model: Model,
    out: Out,
    text: TextOption,
    vocab_size: Annotated[int | None, typer.Option("--vocab-size", help="Tokens in all.")] = None,
    min_count: Annotated[int, typer.Option("--min-count", min=1, help="A token must be seen this often.")] = 2,
    unigram: Annotated[
        bool,
        typer.Option(
            "--unigram/--no-unigram",
            help="Beside WordPiece tokens: a unigram model for text that does not show its words, or none.",
        ),
    ] = True,
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a tokenizer of the same kind as a model's on text of the new language."""
    from ..corpus import Counts, clean_text, read_text
    from ..surgery import load_config, load_tokenizer, readable, resolve_model, save_tokenizer, train_target
    from ..vocabulary import tokenizer_hash

    refuse_existing(out)
    counts = Counts()
    lines = [line for name in text for line in clean_text(read_text(name), 1_000_000, counts)]
    folder = resolve_model(model)
    with readable(model):
        config = load_config(folder)
    trained = train_target(config, load_tokenizer(folder), lines, vocab_size, min_count, unigram)
    save_tokenizer(trained, out)
    done(as_json, quiet, {"size": len(trained), "hash": tokenizer_hash(trained), "lines": counts.kept}, out)


def table(
    model: Model,
    tokenizer: Tokenizer,
    out: Out,
    bitext: BitextOption = [],  # noqa: B006
    lexicon: LexiconOption = [],  # noqa: B006
    vectors: VectorPairOption = None,
    to: ToOption = None,
    seed: NoSeed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the translation table p(English token | new token) of all evidence that is given."""
    from ..evidence import build_table
    from ..surgery import is_decoder, load_tokenizer, resolve_model
    from ..surgery.initialisers import inputs_of
    from ..surgery.initialisers.files import InputFiles, split_vectors
    from ..surgery.initialisers.mixture import sources_of

    files = InputFiles(None, tuple(bitext), split_vectors(vectors) if vectors else None, tuple(lexicon), (), to)
    inputs_of("lingraft", files.given)
    refuse_existing(out)
    files.check()
    folder = resolve_model(model)
    source, target = load_tokenizer(folder), load_tokenizer(tokenizer)
    with Display(quiet) as display:
        inputs = files.read("lingraft")
        evidence, told = sources_of(inputs).gather(source, target, lambda done, note: display("evidence", done, note))
        made = build_table(source, target, evidence, copy_shared=is_decoder(folder))
    out.parent.mkdir(parents=True, exist_ok=True)
    made.save(out)
    told |= {"rows": made.matrix.shape[0], "pairs": len(inputs.pairs), "shares": made.shares()}
    done(as_json, quiet, {"too_long": told.pop("pairs_too_long", 0), **told}, out)


def init(
    model: Model,
    tokenizer: Tokenizer,
    out: Out,
    table: TableOption = None,
    method: Annotated[
        str, typer.Option("--method", help="lingraft, ramen, wechsel, focus, mean or random.")
    ] = "lingraft",
    bitext: BitextOption = [],  # noqa: B006
    vectors: VectorPairOption = None,
    lexicon: LexiconOption = [],  # noqa: B006
    to: ToOption = None,
    text: TextOption = [],  # noqa: B006
    allow_pickle: AllowPickle = False,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the model under the new vocabulary, without any training.

    lingraft works from --table, or from --bitext, --lexicon and --vectors or any of them, and makes what a language
    model predicts on average agree with --text, or else with the bitext; ramen works from --bitext or --vectors,
    wechsel from --vectors and --lexicon, focus from --text; mean and random need nothing.
    """
    from ..surgery import (
        check_folder,
        check_method,
        check_tokenizer_class,
        expected_of,
        graft_with,
        initialise,
        load_to_graft,
        load_tokenizer,
        norm_bounds,
        save_model,
    )
    from ..surgery.initialisers import inputs_of
    from ..surgery.initialisers.files import InputFiles, split_vectors
    from ..training import calibrate_output
    from ..vocabulary import with_chat_template

    chosen = check_method(method)
    files = InputFiles(
        str(table) if table else None, tuple(bitext), split_vectors(vectors) if vectors else None,
        tuple(lexicon), tuple(text), to,
    )  # fmt: skip
    inputs_of(chosen, files.given)
    refuse_existing(out)
    files.check()
    source = load_to_graft(model, allow_pickle=allow_pickle)
    target = with_chat_template(load_tokenizer(tokenizer), source.tokenizer)
    check_tokenizer_class(source.model, target)
    with Display(quiet) as display:
        inputs = files.read(
            chosen, seed, lambda done, note: display("rows", done, note), copy_shared=source.kind == "causal"
        )
        made = initialise(chosen, source.tokenizer, target, inputs)
    bounds = norm_bounds(source)
    grafted = graft_with(source, target, made, seed, take_over=True)
    del source  # one set of weights at a time: what was written is checked against what is remembered of it
    calibration = calibrate_output(grafted, inputs.running_text) if made.calibrated else None
    texts = [line for pair in inputs.pairs[:3] for line in pair] + list(inputs.text[:3])
    with replacing(out) as aside:
        save_model(grafted, aside)
        expected = expected_of(grafted, texts)
        del grafted
        checked = check_folder(expected, aside, bounds)
    done(
        as_json,
        quiet,
        {
            "rows": len(target),
            "method": chosen,
            "shares": made.table.shares(),
            "calibration": asdict(calibration) if calibration else None,
            "self_check": checked,
        },
        out,
    )
