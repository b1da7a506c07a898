"""The same tokenizer under other ids, and what a tokenizer that was given lacks of the source model's."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..errors import ModelError
from .special import ROLES, all_special_ids, special_ids
from .tokens import backend_json


def around(source: PreTrainedTokenizerBase, state: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A transformers tokenizer around a serialised state, with the source's roles, limits and chat template.

    The state holds the text of every special token of the source.
    """
    roles = {f"{role}_token": getattr(source, f"{role}_token") for role in ROLES}
    template = getattr(source, "chat_template", None)
    extra = list(getattr(source, "extra_special_tokens", None) or [])
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        model_max_length=source.model_max_length,
        model_input_names=list(source.model_input_names),
        padding_side=source.padding_side,
        truncation_side=source.truncation_side,
        clean_up_tokenization_spaces=False,
        **({"chat_template": template} if template else {}),
        **({"extra_special_tokens": extra} if extra else {}),
        **{name: token for name, token in roles.items() if token is not None},
    )


def renumber_processor(processor: Any, index_of: dict[str, int]) -> None:
    """Writes the new ids of special tokens into a post-processor, in place."""
    if processor is None:
        return
    if processor["type"] == "Sequence":
        for part in processor["processors"]:
            renumber_processor(part, index_of)
    elif processor["type"] == "TemplateProcessing":
        for entry in processor["special_tokens"].values():
            entry["ids"] = [index_of[token] for token in entry["tokens"]]
    elif processor["type"] in ("BertProcessing", "RobertaProcessing"):
        for name in ("sep", "cls"):
            processor[name] = [processor[name][0], index_of[processor[name][0]]]


def renumbered(tokenizer: PreTrainedTokenizerBase, order: Sequence[int]) -> PreTrainedTokenizerFast:
    """The same tokenizer with other ids: its token k is token ``order[k]`` of the one given.

    order: every id once. ModelError for a vocabulary whose ids have gaps, or without a fast form.
    """
    state = backend_json(tokenizer)
    texts = {index: token for token, index in tokenizer.get_vocab().items()}
    if sorted(texts) != list(range(len(texts))):
        raise ModelError(f"The tokenizer's {len(texts):,} tokens do not have the ids 0 to {len(texts) - 1:,}.")
    index_of = {texts[old]: new for new, old in enumerate(order)}
    model = state["model"]
    if isinstance(model["vocab"], list):
        # Unigram numbers its pieces by their order, so tokens that were added behind them need one too
        scores = dict(model["vocab"])
        unknown = None if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]
        model["vocab"] = [[texts[old], scores.get(texts[old], 0.0)] for old in order]
        model["unk_id"] = None if unknown is None else index_of[unknown]
    else:
        model["vocab"] = index_of
    state["added_tokens"] = sorted(
        ({**token, "id": index_of[token["content"]]} for token in state["added_tokens"]),
        key=lambda token: int(token["id"]),
    )
    state["padding"] = state["truncation"] = None
    renumber_processor(state["post_processor"], index_of)
    return around(tokenizer, state)


def with_padding_at(tokenizer: PreTrainedTokenizerBase, place: int) -> PreTrainedTokenizerBase:
    """The tokenizer with its padding token at an id; the token that was there gets the padding token's.

    place: the id.

    It is the tokenizer itself where the id is right. ModelError if it has no padding token or not as many ids.
    """
    padding = special_ids(tokenizer).get("pad")
    if padding == place:
        return tokenizer
    if padding is None or not 0 <= place < len(tokenizer):
        raise ModelError(
            f"The model numbers positions from its padding token's id, {place}; the tokenizer, of {len(tokenizer):,} "
            f"tokens, has {'no padding token' if padding is None else 'no such id'}. Give another."
        )
    order = list(range(len(tokenizer)))
    order[place], order[padding] = padding, place
    return renumbered(tokenizer, order)


def chat_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Added tokens, special or not, that the tokenizer's chat template writes."""
    template = getattr(tokenizer, "chat_template", None) or ""
    text = "\n".join(template.values()) if isinstance(template, dict) else str(template)
    return {token.content for token in tokenizer.added_tokens_decoder.values() if token.content in text}


def with_chat_template(tokenizer: PreTrainedTokenizerBase, source: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer with the source's chat template where it has none of its own and all special tokens that it writes.

    It is the tokenizer itself where there is nothing to take over.
    """
    template = getattr(source, "chat_template", None)
    special = {str(source.convert_ids_to_tokens(identifier)) for identifier in all_special_ids(source)}
    if getattr(tokenizer, "chat_template", None) or not template:
        return tokenizer
    if not chat_tokens(source) & special <= tokenizer.get_vocab().keys():
        return tokenizer
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = template
    return tokenizer
