"""A task model under another vocabulary: what was fine-tuned in English works in the new language.

Vocabulary-sized parts are replaced (zero-shot transfer as in Tran 2020). Where the new language has an encoder of its
own, what its training did to the English one is added to the task model's, as vectors of tasks add up (Ilharco et al.
2023, "Editing Models with Task Arithmetic"; across languages Ansell et al. 2022). All else keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..cache import refuse_existing, replacing
from ..errors import ModelError, SelfCheckError
from ..evidence import TranslationTable
from ..surgery import (
    LanguageModel,
    check_positions,
    load_model,
    resolve_model,
    save_model,
    transformer_folder,
    vocabulary_parameters,
    with_rows,
)
from ..vocabulary import special_ids, tokenizer_hash
from .swapfiles import load_any, write_swapped

#: below this mean cosine two sets of embedding rows have nothing to do with each other; fine-tuning stays above 0.9
_UNRELATED = 0.5


@dataclass(frozen=True)
class SwapResult:
    """model: of the class that was given, for a folder a transformers model.

    tokenizer: the new language's. report: ``origin`` says whether the task model was seen to come from the English
    model: ``verified`` (its embeddings are the English model's), ``moved`` (they differ, by ``mean_cosine``) or
    ``unknown`` (there is no English model to compare with); ``note`` says so in words, empty if verified. ``drift``
    says whether what training did to the embeddings was carried over. ``encoder``: how many parameters of the encoder
    were moved by what the new language's training did to the English ones; None where that is not known.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    report: dict[str, Any]


def swap(
    task_model: Any,
    target: str | Path | LanguageModel,
    out: str | Path | None = None,
    *,
    source: str | Path | LanguageModel | None = None,
    table: str | Path | TranslationTable | None = None,
    carry_drift: bool = False,
) -> SwapResult:
    """Puts a new language's vocabulary under a model that was fine-tuned in English.

    task_model: a folder, or an object with a transformers ``model`` (or ``encoder``), a ``tokenizer`` and a method
    ``with_model``: `NliModel`, `TaggingModel`, `Parser`, `LanguageModel`. target: the new language's model, a folder
    ``OUT/target`` or loaded. out: where the result is written; a task model given as a folder keeps all its other files
    and tensors byte for byte, but for the encoder's where the target's encoder is not the source's: theta_task +
    theta_target - theta_source. source: the English model that both come from, and table: the translation table; beside
    a folder ``OUT/target``, or ``OUT/LANGUAGE/target`` of a run with several languages, both are found by themselves.
    carry_drift: where fine-tuning moved the English embeddings, each new row moves along with the English rows it
    corresponds to, E' = E_target + A (E_task - E_source).

    Raises ModelError when the two do not fit (other vocabulary, width, family, or unrelated embeddings), for a target
    that is the English model, and for carry_drift without a source or a table; TableError for a table of other
    tokenizers; OutputError if out is there.
    """
    if out is not None:
        refuse_existing(Path(out), "place")
    folder = resolve_model(str(task_model)) if isinstance(task_model, str | Path) else None
    if isinstance(target, str | Path):
        beside = Path(target).parent
        if source is None:
            source = _source_beside(beside)
        if table is None and (beside / "table.npz").is_file():
            table = beside / "table.npz"
        target = _new_language(target)
    if isinstance(source, str | Path):
        source = load_model(source, head=True)
    if isinstance(table, str | Path):
        table = TranslationTable.load(Path(table))
    model, tokenizer = load_any(folder) if folder else (_transformer(task_model), task_model.tokenizer)
    _refuse_english(model, tokenizer, target)
    report = _origin(model, tokenizer, target, source, table)
    if note := _other_frame(tokenizer, target.tokenizer):
        report["note"] = f"{report['note']} {note}".strip()
    rows = _rows(model, target)
    if carry_drift:
        rows["input"] = rows["input"].cpu() + _drift(model, target, source, table)
    report["drift"] = carry_drift
    swapped = with_rows(model, rows, tokenizer, target.tokenizer)
    moved = {} if source is None else _encoder_changes(model, source, target)
    with torch.no_grad():
        for name, parameter in swapped.base_model.named_parameters():
            if name in moved:
                parameter.copy_(moved[name])
    report["encoder"] = None if source is None else len(moved)
    _check_kept(model, swapped, moved)
    if folder is None:
        result = task_model.with_model(swapped, target.tokenizer)
        if out is not None:
            with replacing(Path(out)) as aside:
                save_model(result, aside) if isinstance(result, LanguageModel) else result.save(aside)
        return SwapResult(result, target.tokenizer, report)
    if out is not None:
        write_swapped(folder, model, swapped, target.tokenizer, Path(out))
    return SwapResult(swapped, target.tokenizer, report)


def _new_language(name: str | Path) -> LanguageModel:
    try:
        return load_model(name, head=True)
    except ModelError as error:
        raise ModelError(
            f"{error} A swap takes the task model that was fine-tuned in English as --task-model and the new "
            "language's model, a run's target folder, as --to."
        ) from None


def _refuse_english(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, target: LanguageModel) -> None:
    """ModelError if the vocabulary to be put under the task model is the one it has."""
    own, new = (vocabulary_parameters(each)["input"].detach().cpu() for each in (model, target.model))
    if tokenizer.get_vocab() == target.tokenizer.get_vocab() and torch.equal(own, new.to(own.dtype)):
        raise ModelError(
            "What was given as the new language's model has the task model's own vocabulary and embeddings: it is the "
            "English model, and nothing would change. Give the run's target folder, not its source."
        )


def _source_beside(folder: Path) -> Path | None:
    """The English model of the run that a folder with a ``target`` belongs to: in it, or of several languages above."""
    places = [folder, *([folder.parent] if (folder.parent / "recipe.yaml").is_file() else [])]
    found = (place / "source" for place in places)
    return next((place for place in found if (transformer_folder(place) / "config.json").is_file()), None)


def _transformer(task_model: Any) -> PreTrainedModel:
    for name in ("model", "encoder"):
        found = getattr(task_model, name, None)
        if isinstance(found, PreTrainedModel):
            return found
    raise ModelError(f"{type(task_model).__name__} holds no transformers model whose vocabulary could be swapped.")


def _origin(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    target: LanguageModel,
    source: LanguageModel | None,
    table: TranslationTable | None,
) -> dict[str, Any]:
    """Refuses a task model that cannot be the English model's; says how sure it is that it is one."""
    check_positions(model, tokenizer, target.tokenizer)
    own, new = (vocabulary_parameters(each)["input"].detach().cpu() for each in (model, target.model))
    if own.shape[1] != new.shape[1]:
        raise ModelError(
            f"The task model's embeddings have {own.shape[1]} dimensions and the new language's {new.shape[1]}: they "
            "come from different English models."
        )
    family, wanted = model.config.model_type, target.model.config.model_type
    if family != wanted:
        raise ModelError(f"The task model is a {family} and the new language's model a {wanted}.")
    if source is None:
        if table is not None and table.matrix.shape[1] != len(tokenizer):
            raise ModelError(
                f"The task model's vocabulary has {len(tokenizer):,} tokens; the new language was grafted onto one of "
                f"{table.matrix.shape[1]:,}."
            )
        known = table is not None and table.source_hash == tokenizer_hash(tokenizer)
        note = ("Its vocabulary is the right one, but no" if known else "No") + (
            " English model was given to compare with (--source-model), so it is not known whether the task model "
            "was fine-tuned from the one that the new language was grafted onto, nor whether the new language has an "
            "encoder of its own, whose training would be added to the task model's."
        )
        return {"origin": "unknown", "note": note}
    _same_vocabulary(tokenizer, source.tokenizer)
    english = vocabulary_parameters(source.model)["input"].detach().cpu()
    n = min(len(tokenizer), own.shape[0], english.shape[0])
    if torch.equal(english[:n].to(own.dtype), own[:n]):
        return {"origin": "verified", "note": ""}
    before, after = english[:n].float(), own[:n].float()
    cosine = float(torch.nn.functional.cosine_similarity(before, after, dim=1).mean())
    if cosine < _UNRELATED:
        raise ModelError(
            f"The task model's word embeddings have nothing to do with the English model's (mean cosine {cosine:.2f}): "
            "it was fine-tuned from another model with the same vocabulary."
        )
    note = (
        f"The task model's word embeddings are not the English model's (mean cosine {cosine:.4f}): it was fine-tuned "
        "with its embeddings unfrozen, or from another state of the English model. The new vocabulary may fit less well"
        "; --carry-drift moves it along."
    )
    return {"origin": "moved", "mean_cosine": cosine, "note": note}


def _frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[tuple[Any, int]], bool]:
    """What stands around and between the two texts of a pair, by role, with token types; and whether those are used."""
    with_types = "token_type_ids" in tokenizer.model_input_names
    pair = tokenizer("0", "0", return_token_type_ids=True)
    roles = {identifier: role for role, identifier in special_ids(tokenizer).items()}
    frame: list[tuple[Any, int]] = []
    for identifier, text, kind in zip(pair["input_ids"], pair.sequence_ids(), pair["token_type_ids"], strict=True):
        part = (roles.get(identifier, "other") if text is None else text, kind if with_types else 0)
        if text is None or not frame or frame[-1] != part:  # a text may be several tokens
            frame.append(part)
    return frame, with_types


def _other_frame(own: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase) -> str:
    """A warning if the new tokenizer surrounds texts with other special tokens or types; empty if not."""
    before, after = _frame(own), _frame(new)
    if before == after:
        return ""

    def shown(frame: list[tuple[Any, int]]) -> str:
        return " ".join(f"{part if isinstance(part, str) else 'AB'[part]}:{kind}" for part, kind in frame)

    return (
        f"The new tokenizer surrounds texts otherwise than the one the task model was trained with ({shown(after[0])}; "
        f"before: {shown(before[0])}), which may cost accuracy."
    )


def _same_vocabulary(own: PreTrainedTokenizerBase, source: PreTrainedTokenizerBase) -> None:
    mine, theirs = own.get_vocab(), source.get_vocab()
    if mine == theirs:
        return
    differing = sorted((k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)), key=str)
    raise ModelError(
        f"The task model's vocabulary ({len(mine):,} tokens) is not that of the English model ({len(theirs):,} tokens)"
        f": {len(differing):,} tokens differ, '{differing[0]}' for one. Only a model with the same vocabulary can be "
        "swapped."
    )


def _rows(model: PreTrainedModel, target: LanguageModel) -> dict[str, Tensor]:
    """The target's rows for every vocabulary-sized part that the task model has."""
    theirs = vocabulary_parameters(target.model)
    rows = {}
    for name, parameter in vocabulary_parameters(model).items():
        if name not in theirs:
            raise ModelError(
                f"{type(model).__name__} has output embeddings over the vocabulary ({name}), which the new language's "
                "model has none for."
            )
        rows[name] = theirs[name].detach().to(parameter.dtype, copy=True)
    return rows


def _drift(
    model: PreTrainedModel, target: LanguageModel, source: LanguageModel | None, table: TranslationTable | None
) -> Tensor:
    """What fine-tuning did to the English rows, carried over by the table: A (E_task - E_source), (V_target, width)."""
    if source is None or table is None:
        missing = "the English model (--source-model)" if source is None else "the translation table (--table)"
        raise ModelError(f"To carry the drift of the embeddings over, {missing} is needed.")
    table.check_tokenizers(source.tokenizer, target.tokenizer)
    own, english = (vocabulary_parameters(each)["input"].detach().cpu().float() for each in (model, source.model))
    n = table.matrix.shape[1]
    moved = table.matrix @ (own[:n] - english[:n]).numpy()
    rows = vocabulary_parameters(target.model)["input"]
    result = torch.zeros(rows.shape, dtype=own.dtype)
    result[: moved.shape[0]] = torch.from_numpy(moved)
    return result.to(vocabulary_parameters(model)["input"].dtype)


def _encoder_changes(model: PreTrainedModel, source: LanguageModel, target: LanguageModel) -> dict[str, Tensor]:
    """The task model's parameters moved as the target's moved from the source's, by name inside the encoder.

    Only those that moved at all, in the task model's dtype, each sum rounded once.
    """
    mine, english, theirs = (
        dict(each.base_model.named_parameters()) for each in (model, source.model, target.model)
    )  # fmt: skip
    vocabulary = {id(parameter) for parameter in vocabulary_parameters(model).values()}
    changes: dict[str, Tensor] = {}
    for name, parameter in mine.items():
        # a part that only the task model has, as a pooler, was made by its fine-tuning
        if id(parameter) in vocabulary or name not in english or name not in theirs:
            continue
        before, after = english[name].detach().cpu(), theirs[name].detach().cpu()
        if not torch.equal(before, after):
            moved = parameter.detach().cpu().double() + after.double() - before.double()
            changes[name] = moved.to(parameter.dtype)
    return changes


def _check_kept(before: PreTrainedModel, after: PreTrainedModel, moved: Mapping[str, Tensor]) -> None:
    """SelfCheckError unless all that is not vocabulary-sized and was not moved is the same to the last bit."""
    own = {id(parameter) for parameter in vocabulary_parameters(before).values()}
    own |= {id(parameter) for name, parameter in before.base_model.named_parameters() if name in moved}
    kept: Mapping[str, Tensor] = dict(after.named_parameters(remove_duplicate=False))
    for name, parameter in before.named_parameters(remove_duplicate=False):
        if id(parameter) not in own and not torch.equal(parameter, kept[name]):
            raise SelfCheckError(f"Swapping changed the parameter '{name}', which is not the vocabulary's.")
