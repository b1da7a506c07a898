"""A new vocabulary under a model: input embeddings, output embeddings, output bias, and the ids in the config."""

from __future__ import annotations

import copy
from typing import Any, Literal, get_args

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import ModelError, TableError
from ..evidence import Provenance, TranslationTable
from ..vocabulary import ROLES, same_special_tokens, special_ids
from .initialisers import Initialisation, Unknown
from .models import LanguageModel

#: what can be done with a table as it is; the other methods make their own (`initialisers`)
TableMethod = Literal["lingraft", "mean", "random"]
TABLE_METHODS: tuple[TableMethod, ...] = get_args(TableMethod)


def vocabulary_parameters(model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    """The parameters with one row per token, by role: ``input``, ``output`` (where not tied to it) and ``bias``."""
    embeddings: Any = model.get_input_embeddings()
    output: Any = model.get_output_embeddings()
    found: dict[str, torch.nn.Parameter] = {"input": embeddings.weight}
    if output is not None:
        if output.weight is not found["input"]:
            found["output"] = output.weight
        if getattr(output, "bias", None) is not None:
            found["bias"] = output.bias
    return found


def mix_rows(
    rows: Tensor, table: TranslationTable, generator: np.random.Generator, unknown: Unknown = "normal"
) -> Tensor:
    """New rows for the target vocabulary out of the source's: mixtures by the table, E_f = A E_e (Tran 2020, eq. 1).

    rows: float (V_source or more, width), or (V_source or more,) for a bias; rows beyond the tokenizer are padding and
    take no part. unknown: what becomes of rows of provenance ``fallback`` (see `initialisers.Unknown`). Returns the
    same dtype with V_target rows. Raises TableError for a table with more columns than there are rows.
    """
    matrix = table.matrix
    if rows.shape[0] < matrix.shape[1]:
        raise TableError(f"The model has {rows.shape[0]:,} embedding rows and the table {matrix.shape[1]:,} columns.")
    source = rows.detach().float().numpy()[: matrix.shape[1]].astype(np.float64)
    shape = (matrix.shape[0], *source.shape[1:])
    mean: Any = source.mean(0)
    spread: Any = source.std(0)
    if unknown in ("ramen", "ramen-code"):
        width = source.shape[-1]
        mean, spread = 0.0, 1 / width if unknown == "ramen" else width**-0.5
    result = np.broadcast_to(mean, shape).copy()
    if unknown != "mean" and source.ndim == 2:
        # of all rows, so that what one row gets does not depend on which others are known
        drawn = generator.normal(size=shape) * spread
        result += drawn
    known = table.provenance != Provenance.fallback
    picked = sparse.csr_matrix(matrix[known], dtype=np.float64)
    result[known] = picked @ source
    return torch.from_numpy(result).to(rows.dtype)


def table_initialisation(table: TranslationTable, method: TableMethod = "lingraft") -> Initialisation:
    """What a method does with a table.

    ``lingraft`` takes it as it is and draws rows without evidence from a normal with the mean and standard deviation of
    the source's rows in each dimension. ``random`` draws every row so and ``mean`` sets them to the mean, but for those
    of special tokens.
    """
    if method == "lingraft":
        return Initialisation(table, "normal")
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
) -> LanguageModel:
    """A copy of the source model under the new tokenizer, its vocabulary-sized parts made from the table.

    Raises TableError if the table belongs to other tokenizers, ModelError if the model cannot take the new one. The
    source is left untouched. The methods are those of `table_initialisation`.
    """
    return graft_with(source, tokenizer, table_initialisation(table, method), seed)


def graft_with(
    source: LanguageModel, tokenizer: PreTrainedTokenizerBase, initialisation: Initialisation, seed: int = 0
) -> LanguageModel:
    """The same with the rows of any method (`initialisers.initialise`); seed: of rows without evidence."""
    table = initialisation.table
    table.check_tokenizers(source.tokenizer, tokenizer)
    check_positions(source.model, source.tokenizer, tokenizer)
    generator = np.random.default_rng(seed)
    rows = {
        name: mix_rows(parameter, table, generator, initialisation.unknown)
        for name, parameter in vocabulary_parameters(source.model).items()
    }
    return source.with_model(with_rows(source.model, rows, source.tokenizer, tokenizer), tokenizer)


def with_rows(
    model: PreTrainedModel, rows: dict[str, Tensor], old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase
) -> PreTrainedModel:
    """A copy of a model with other rows in its vocabulary-sized parts, and its config's special ids renumbered.

    rows: by the roles of `vocabulary_parameters`, each (V_new, width) or (V_new,). Nothing else is changed.
    """
    model = copy.deepcopy(model)
    model.resize_token_embeddings(rows["input"].shape[0], mean_resizing=False)
    with torch.no_grad():
        for name, parameter in vocabulary_parameters(model).items():
            parameter.copy_(rows[name])
    embeddings: Any = model.get_input_embeddings()
    if embeddings.padding_idx is not None:  # the row that gets no gradient
        embeddings.padding_idx = special_ids(new).get("pad")
    for config in (model.config, getattr(model, "generation_config", None)):
        _renumber(config, old, new)
    model.eval()
    return model


def check_positions(model: PreTrainedModel, source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> None:
    """RoBERTa and its like number positions from the padding token's id on, so that it has to stay where it is."""
    old, new = special_ids(source).get("pad"), special_ids(target).get("pad")
    counted = any(
        name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
        for name, module in model.named_modules()
    )
    if counted and old != new:
        raise ModelError(
            f"{type(model).__name__} numbers positions from the id of its padding token, {old}, and the new tokenizer "
            f"has that token at {new}. Give a tokenizer that has it at {old}, or let one be trained."
        )


def _renumber(config: Any, source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> None:
    """Special ids in a config, by role and else by text; one that the new vocabulary has no place for goes."""
    old, new = special_ids(source), special_ids(target)
    moved = {column: row for row, column in same_special_tokens(target, source).items()}
    moved |= {old[role]: new[role] for role in ROLES if role in old and role in new}
    for role in ROLES:
        name = f"{role}_token_id"
        given = getattr(config, name, None)
        if isinstance(given, int):
            # an id may have had several roles (pad and eos of GPT-2), which need not be one any more
            place: int = new[role] if old.get(role) == given and role in new else moved.get(given, given)
            setattr(config, name, place if place < len(target) else None)
        elif isinstance(given, list):
            places = [moved.get(int(identifier), int(identifier)) for identifier in given]
            setattr(config, name, [index for index in places if index < len(target)])


def share_body(owner: PreTrainedModel, follower: PreTrainedModel) -> None:
    """Makes the follower use the owner's modules for everything that is not vocabulary-sized, in place.

    After it a gradient step through either model moves one and the same body. Whole modules are shared where they hold
    no vocabulary-sized parameter, so that what is done to a layer of one (sharded, compiled) is done to both.
    """
    own = {id(parameter) for parameter in vocabulary_parameters(follower).values()}

    def share(theirs: torch.nn.Module, mine: torch.nn.Module) -> None:
        for name, child in list(mine.named_children()):
            if any(id(parameter) in own for parameter in child.parameters()):
                share(theirs.get_submodule(name), child)
            else:
                setattr(mine, name, theirs.get_submodule(name))
        for name, parameter in list(mine.named_parameters(recurse=False)):
            if id(parameter) not in own:
                setattr(mine, name, theirs.get_parameter(name))

    share(owner, follower)
