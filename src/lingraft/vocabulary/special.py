"""Special tokens by what they are for, never by how they are spelled or numbered."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

#: the roles that a tokenizer can name, in transformers' own words
ROLES = ("pad", "unk", "bos", "eos", "cls", "sep", "mask")


def special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Role -> token id for every role the tokenizer fills; several roles may share an id (bos and cls of RoBERTa)."""
    found = {}
    for role in ROLES:
        identifier = getattr(tokenizer, f"{role}_token_id")
        if identifier is not None:
            found[role] = int(identifier)
    return found


def same_special_tokens(tokenizer: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> dict[int, int]:
    """Special ids of one tokenizer -> ids of special tokens with the same text in another, for those without a role.

    other: the tokenizer whose ids are the values.
    """
    theirs = {str(other.convert_ids_to_tokens(identifier)): identifier for identifier in all_special_ids(other)}
    mine = {identifier: str(tokenizer.convert_ids_to_tokens(identifier)) for identifier in all_special_ids(tokenizer)}
    return {identifier: theirs[text] for identifier, text in mine.items() if text in theirs}


def all_special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every id that stands for no text: the roles and whatever else is marked special."""
    return set(tokenizer.all_special_ids) | {
        identifier for identifier, token in tokenizer.added_tokens_decoder.items() if token.special
    }


def special_rows(source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> dict[int, int]:
    """Target id -> source id of the special tokens that both have: by role, those without a role by their text."""
    old, new = special_ids(source), special_ids(target)
    found = same_special_tokens(target, source)
    # an id may have several roles; the first of them decides, and any role before the text
    return found | {new[role]: old[role] for role in reversed(new) if role in old}
