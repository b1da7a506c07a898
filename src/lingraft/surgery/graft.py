"""A new vocabulary under a model: input embeddings, output embeddings, output bias, and the ids in the config."""

from __future__ import annotations

import copy
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import ModelError, TableError
from ..evidence import Provenance, TranslationTable
from ..machine import give_memory_back
from ..vocabulary import ROLES, same_special_tokens, special_ids
from .initialisers import Initialisation, Unknown
from .layout import position_padding, set_rows, vocabulary_parameters
from .mixing import mix
from .models import Kind, LanguageModel, without_weights

#: what can be done with a table as it is; the other methods make their own (`initialisers`)
TableMethod = Literal["lingraft", "mean", "random"]
TABLE_METHODS: tuple[TableMethod, ...] = get_args(TableMethod)

#: how far the norms of mixtures are moved, by kind of model. A mean of rows is shorter than they are, and the less they
#: agree, the shorter: a mixture of norm r gets the norm r^(1 - b) n^b, with n the mean norm of the rows that the table
#: draws on. A copy of one row is not touched. Chosen on held-out text and XNLI dev (docs/results.md); a decoder has no
#: bias to hold its long rows down
BALANCE: dict[Kind, float] = {"masked": 0.5, "sentence": 0.5, "causal": 0.25}


def mix_rows(
    rows: Tensor, table: TranslationTable, generator: np.random.Generator, unknown: Unknown = "normal",
    balance: float = 0.0,
) -> Tensor:  # fmt: skip
    """New rows for the target vocabulary out of the source's: mixtures by the table, E_f = A E_e (Tran 2020, eq. 1).

    rows: float (V_source or more, width), or (V_source or more,) for a bias; rows beyond the tokenizer are padding and
    take no part. unknown: what becomes of rows of provenance ``fallback`` (see `initialisers.Unknown`). balance: of the
    norms of mixtures (see `BALANCE`). Returns the same dtype with V_target rows. Raises TableError for a table with
    more columns than there are rows. generator: draws rows without evidence.
    """
    matrix = table.matrix
    if rows.shape[0] < matrix.shape[1]:
        raise TableError(f"The model has {rows.shape[0]:,} embedding rows and the table {matrix.shape[1]:,} columns.")
    known = table.provenance != Provenance.fallback
    centre, spread = None, None
    if unknown == "mean":
        spread = 0.0
    elif unknown in ("ramen", "ramen-code"):
        width = rows.shape[-1]
        centre, spread = 0.0, 1 / width if unknown == "ramen" else width**-0.5
    return mix(rows, matrix, known, generator, centre, spread, balance)


def table_initialisation(table: TranslationTable, method: TableMethod = "lingraft") -> Initialisation:
    """What a method does with a table.

    ``lingraft`` takes it as it is, balances the norms of mixtures, and draws rows without evidence from a normal with
    the mean and standard deviation of the source's rows in each dimension. ``random`` draws every row so and ``mean``
    sets them to the mean, but for those of special tokens.
    """
    if method == "lingraft":
        return Initialisation.lingraft(table)
    special = table.provenance == Provenance.special
    alone = TranslationTable(
        sparse.csr_matrix(sparse.diags(special.astype(np.float32)) @ table.matrix, dtype=np.float32),
        np.where(special, table.provenance, Provenance.fallback).astype(np.uint8), table.evidence * special,
        table.source_hash, table.target_hash,
    )  # fmt: skip
    return Initialisation(alone, "mean" if method == "mean" else "normal")


def graft(
    source: LanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    table: TranslationTable,
    method: TableMethod = "lingraft",
    seed: int = 0,
    *,
    take_over: bool = False,
) -> LanguageModel:
    """A copy of the source model under the new tokenizer, its vocabulary-sized parts made from the table.

    seed: of rows without evidence.

    Raises TableError if the table belongs to other tokenizers, ModelError if the model cannot take the new one. The
    source is left untouched. take_over: for callers that have no further use for the source; the graft takes its
    other parameters as they are, so that no second copy of them is ever in memory, and leaves it without weights. The
    methods are those of `table_initialisation`.
    """
    return graft_with(source, tokenizer, table_initialisation(table, method), seed, take_over=take_over)


def graft_with(
    source: LanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    initialisation: Initialisation,
    seed: int = 0,
    *,
    take_over: bool = False,
) -> LanguageModel:
    """The same with the rows of any method (`initialisers.initialise`); seed: of rows without evidence.

    source, tokenizer, take_over: as for `graft`. initialisation: the table, and what becomes of the rows that it leaves
    empty.
    """
    table = initialisation.table
    table.check_tokenizers(source.tokenizer, tokenizer)
    check_positions(source.model, source.tokenizer, tokenizer)
    generator = np.random.default_rng(seed)
    balance = BALANCE[source.kind] if initialisation.balanced else 0.0
    rows = {
        name: mix_rows(parameter, table, generator, initialisation.unknown, balance)
        for name, parameter in vocabulary_parameters(source.model).items()
    }
    give_memory_back()  # of the threads that mixed rows, and of the aligner before them
    made = with_rows(source.model, rows, source.tokenizer, tokenizer, take_over=take_over)
    if take_over:
        without_weights(source)  # in place, as others may still hold it
    return source.with_model(made, tokenizer)


def with_rows(
    model: PreTrainedModel,
    rows: dict[str, Tensor],
    old: PreTrainedTokenizerBase,
    new: PreTrainedTokenizerBase,
    *,
    take_over: bool = False,
) -> PreTrainedModel:
    """A copy of a model with other rows in its vocabulary-sized parts, and its config's special ids renumbered.

    rows: by the roles of `vocabulary_parameters`, each (V_new, width) or (V_new,). take_over: the other parameters are
    the model's own, not copies. Nothing else is changed. old, new: the tokenizers before and after.
    """
    # deepcopy takes from its memo what it finds there: parts that are tied stay so, and no old row is copied
    memo: dict[int, Any] = {id(parameter): parameter for parameter in model.parameters()} if take_over else {}
    memo |= {
        id(parameter): nn.Parameter(rows[name].to(parameter), parameter.requires_grad)
        for name, parameter in vocabulary_parameters(model).items()
    }
    copied: PreTrainedModel = copy.deepcopy(model, memo)
    set_rows(copied, rows["input"].shape[0], special_ids(new).get("pad"))
    for config in (copied.config, getattr(copied, "generation_config", None)):
        _renumber(config, old, new)
    copied.eval()
    return copied


def check_positions(model: PreTrainedModel, source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> None:
    """RoBERTa and its like number positions from the padding token's id on, so that it has to stay where it is.

    model: the source model. source, target: the old and the new tokenizer. Raises ModelError if the new one has its
    padding token elsewhere.
    """
    counted, new = position_padding(model), special_ids(target).get("pad")
    if counted is not None and new not in (counted, special_ids(source).get("pad")):
        raise ModelError(
            f"{type(model).__name__} numbers positions from the id of its padding token, {counted}, and the new "
            f"tokenizer has that token at {new}. Give a tokenizer that has it at {counted} "
            "(lingraft transfer moves it by itself, lingraft.vocabulary.with_padding_at too), or let one be trained."
        )


#: settings of generation that name tokens of the old vocabulary otherwise than by ``..._token_id``
_OF_THE_OLD_VOCABULARY = (
    "bad_words_ids", "begin_suppress_tokens", "force_words_ids", "forced_decoder_ids", "sequence_bias",
    "suppress_tokens",
)  # fmt: skip


def _renumber(config: Any, source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> None:
    """Special ids in a config, by role and else by text; one that the new vocabulary has no token for goes."""
    old, new = special_ids(source), special_ids(target)
    moved = {column: row for row, column in same_special_tokens(target, source).items()}
    moved |= {old[role]: new[role] for role in reversed(ROLES) if role in old and role in new}
    for name, given in list(vars(config).items() if config is not None else ()):
        if name in _OF_THE_OLD_VOCABULARY and given is not None:
            setattr(config, name, None)
        if not name.endswith("_token_id"):
            continue
        role = name.removesuffix("_token_id")
        if isinstance(given, int):
            # an id may have had several roles (pad and eos of GPT-2), which need not be one any more
            setattr(config, name, new[role] if old.get(role) == given and role in new else moved.get(given))
        elif isinstance(given, list):
            setattr(config, name, [moved[int(each)] for each in given if int(each) in moved])


def share_body(owner: PreTrainedModel, follower: PreTrainedModel) -> None:
    """Makes the follower use the owner's modules for everything that is not vocabulary-sized, in place.

    After it a gradient step through either model moves one and the same body. Whole modules are shared where they hold
    no vocabulary-sized parameter, so that what is done to a layer of one (sharded, compiled) is done to both.
    """
    own = {id(parameter) for parameter in vocabulary_parameters(follower).values()}

    def share(theirs: nn.Module, mine: nn.Module) -> None:
        for name, child in list(mine.named_children()):
            if any(id(parameter) in own for parameter in child.parameters()):
                share(theirs.get_submodule(name), child)
            else:
                setattr(mine, name, theirs.get_submodule(name))
        for name, parameter in list(mine.named_parameters(recurse=False)):
            if id(parameter) not in own:
                setattr(mine, name, theirs.get_parameter(name))

    share(owner, follower)
