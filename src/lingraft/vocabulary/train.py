"""A tokenizer for the new language, of the same kind as the source model's.

It keeps the source's normaliser (less whatever strips accents), pre-tokenizer (less what cuts words at their vowel
signs), decoder and template; only the model inside is trained anew. Of a text that shows no words it keeps less
(`lingraft.vocabulary.superwords`). Special tokens keep their ids, so that a model's
config stays true; where the new vocabulary is smaller than such an id, that token moves to the end.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..errors import CorpusError, ModelError
from .marks import has_marks, keep_marks
from .renumber import around, chat_tokens, renumber_processor
from .shared import shared_tokens
from .special import all_special_ids
from .superwords import learn, sampled, unigram_state, units_of
from .tokens import backend_json, notation
from .unigram import settled

DEFAULT_SIZE = 32_000

#: of a size that is asked for so much may be tokens that English is cut into as well
_SHARED = 0.25

#: WordPiece gives up (writes the unknown token) on longer words; a line of Thai or Khmer may be one word
_MAX_WORD = 1000


def plain_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy of the fast tokenizer that neither pads nor truncates, whatever its file says."""
    backend = Tokenizer.from_str(json.dumps(backend_json(tokenizer)))
    backend.no_padding()
    backend.no_truncation()
    return backend


def frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special ids that the tokenizer puts before and after a single text."""
    encoding = plain_backend(tokenizer).encode("a", add_special_tokens=True)
    inside = [k for k, special in enumerate(encoding.special_tokens_mask) if not special]
    if not inside:
        return list(encoding.ids), []
    return list(encoding.ids[: inside[0]]), list(encoding.ids[inside[-1] + 1 :])


def keep_accents(normalizer: dict[str, Any] | None) -> dict[str, Any] | None:
    """The same normaliser without accent stripping, which destroys vowel signs and tone marks of many languages.

    Where decomposition (NFD, NFKD) only prepared the stripping it becomes the matching composition.
    """
    if normalizer is None:
        return None
    normalizer = copy.deepcopy(normalizer)
    if normalizer["type"] == "BertNormalizer":
        normalizer["strip_accents"] = False
    elif normalizer["type"] == "Sequence":
        parts = normalizer["normalizers"]
        if any(part["type"] == "StripAccents" for part in parts):
            composed = {"NFD": "NFC", "NFKD": "NFKC"}
            parts = [
                {"type": composed.get(part["type"], part["type"])} if part["type"] in composed else part
                for part in parts
                if part["type"] != "StripAccents"
            ]
        normalizer["normalizers"] = [keep_accents(part) for part in parts]
    elif normalizer["type"] == "StripAccents":
        return None
    return normalizer


def _inner_characters(learner: Tokenizer, lines: Sequence[str], prefix: str) -> list[str]:
    """Every character that stands inside a word, with the prefix, in code point order.

    Given to the trainer in this order; it would otherwise number them as it meets them in a randomly seeded hash map,
    break ties by those numbers, and make another vocabulary in every process.
    """
    inner: set[str] = set()
    for start in range(0, len(lines), 1000):
        chunk = "\n".join(lines[start : start + 1000])
        if learner.normalizer is not None:
            chunk = learner.normalizer.normalize_str(chunk)
        for word in set(chunk.split()):
            inner.update(word[1:])
    return [prefix + character for character in sorted(inner)]


def _trainer(
    state: dict[str, Any], size: int, min_count: int, unknown: str | None, learner: Tokenizer, lines: Sequence[str]
) -> Any:
    kind = state["model"]["type"]
    prefix = state["model"].get("continuing_subword_prefix") or ("##" if kind == "WordPiece" else "")
    first = [unknown] if unknown else []
    if prefix:
        first += _inner_characters(learner, lines, prefix)
    if kind == "WordPiece":
        return trainers.WordPieceTrainer(
            vocab_size=size, min_frequency=min_count, show_progress=False, special_tokens=first,
            continuing_subword_prefix=prefix,
        )  # fmt: skip
    if kind == "BPE":
        alphabet = pre_tokenizers.ByteLevel.alphabet() if notation(state) == "bytelevel" else []
        return trainers.BpeTrainer(
            vocab_size=size, min_frequency=min_count, show_progress=False, initial_alphabet=alphabet,
            special_tokens=first, continuing_subword_prefix=prefix,
            end_of_word_suffix=state["model"].get("end_of_word_suffix") or "",
        )  # fmt: skip
    if kind == "Unigram":
        return trainers.UnigramTrainer(vocab_size=size, show_progress=False, unk_token=unknown, special_tokens=first)
    raise ModelError(f"A tokenizer of kind {kind} cannot be trained; give one with --tokenizer.")


def _blank(state: dict[str, Any], unknown: str | None) -> dict[str, Any]:
    """The model part with nothing learned in it."""
    model = dict(state["model"])
    if model["type"] == "Unigram":
        # an unknown piece is needed even before training
        return model | {"vocab": [[unknown or "<unk>", 0.0]], "unk_id": 0}
    empty: dict[str, Any] = {"vocab": {unknown: 0} if unknown and model["type"] == "WordPiece" else {}}
    if model["type"] == "BPE":
        # the merges of a byte-fallback model are learned on characters, the bytes come in afterwards
        empty |= {"merges": [], "byte_fallback": False, "ignore_merges": False}
    return model | empty | ({"max_input_chars_per_word": _MAX_WORD} if model["type"] == "WordPiece" else {})


def _special_layout(source: PreTrainedTokenizerBase, state: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The added tokens of the source that are special or that its chat template writes, by id.

    Other added tokens are English text and are left behind.
    """
    special, written = all_special_ids(source), chat_tokens(source)
    return {
        token["id"]: token for token in state["added_tokens"] if token["id"] in special or token["content"] in written
    }


def _place(specials: dict[int, str], pieces: list[str]) -> list[str]:
    """All tokens in the order of their ids: specials where they were if that is inside, pieces in the other places."""
    total = len(specials) + len(pieces)
    inside = {index: token for index, token in specials.items() if index < total}
    # the displaced ones take the last free places
    free = [index for index in range(total) if index not in inside]
    displaced = [token for index, token in sorted(specials.items()) if index >= total]
    ordered = [*pieces, *displaced]
    inside.update(zip(free, ordered, strict=True))
    return [inside[index] for index in range(total)]


#: keeps merges inside words for SentencePiece-style models, most of whose files leave a whole line in one piece
_SPLIT_AT_SPACES = {"type": "Split", "pattern": {"String": "▁"}, "behavior": "MergedWithNext", "invert": False}


def _learn(state: dict[str, Any], lines: Sequence[str], size: int, min_count: int, unknown: str | None) -> Any:
    blank: dict[str, Any] = {"model": _blank(state, unknown), "added_tokens": [], "post_processor": None}
    blank |= {"padding": None, "truncation": None}
    if notation(state) == "metaspace":
        own = state["pre_tokenizer"]
        blank["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [*([own] if own else []), _SPLIT_AT_SPACES]}
    learner = Tokenizer.from_str(json.dumps(state | blank))
    learner.train_from_iterator(lines, _trainer(state, size, min_count, unknown, learner, lines))
    model = json.loads(learner.to_str())["model"]
    if model["type"] == "Unigram":
        model["vocab"] = settled(model["vocab"])
    return model


def _with_shared(model: dict[str, Any], shared: Sequence[str], room: int) -> dict[str, Any]:
    """The model with these tokens, the last of its own left out where there is no room."""
    if not shared:
        return model
    own = sorted(model["vocab"], key=model["vocab"].__getitem__)
    # the characters come first, and stay
    merged = sum(len(token.removeprefix(model["continuing_subword_prefix"])) > 1 for token in own)
    new = [token for token in shared if token not in model["vocab"]][: max(0, room - len(own)) + merged]
    return model | {"vocab": {token: index for index, token in enumerate(own[: room - len(new)] + new)}}


def _too_small(size: int, needed: int) -> CorpusError:
    return CorpusError(
        f"A vocabulary of {size:,} tokens is too small for the text, whose characters alone need {needed:,}: "
        "ask for a larger --vocab-size."
    )


def train_tokenizer(
    source: PreTrainedTokenizerBase, lines: Sequence[str], size: int | None = None, min_count: int = 2,
    *, whole_words: bool = True, unigram: bool = True,
) -> PreTrainedTokenizerFast:  # fmt: skip
    """Trains a tokenizer of the source's kind on lines of the new language.

    size: tokens in all, specials included. Without it 32,000 or what the text supports, whichever is smaller, and
    beside WordPiece tokens those of them that it shares (`lingraft.vocabulary.shared`); a size that the text cannot
    support raises CorpusError, as does text without a single token. min_count: a merge has to be seen this often, and
    so has a word of a unigram model beside WordPiece tokens. whole_words: where the text has combining marks and the
    source's pattern cuts words at them, as GPT-2's does, the new tokenizer's does not; beside a Qwen2 model
    transformers would read no such one (`lingraft.surgery.train_target`). unigram: where the text is written in
    characters or syllables that are parts of words, or in words with their clitics, and the source's tokens are
    WordPiece's, which could not join the first nor cut the last, the new ones are a unigram model's
    (`lingraft.vocabulary.superwords`).
    """
    state = backend_json(source)
    state["normalizer"] = keep_accents(state["normalizer"])
    if whole_words and has_marks(lines):
        state = keep_marks(state)
    # of the source's tokens, whatever the new ones are
    wordpiece, prefix = state["model"]["type"] == "WordPiece", state["model"].get("continuing_subword_prefix") or "##"
    units = units_of(lines) if unigram and wordpiece else None
    if units:
        state, lines = unigram_state(state, units), sampled(lines, units)
    specials = _special_layout(source, state)
    model = state["model"]
    unknown = source.unk_token if model["type"] != "BPE" or model.get("unk_token") else None
    taken = {token["content"] for token in specials.values()}
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)] if model.get("byte_fallback") else []
    byte_tokens = [token for token in byte_tokens if token not in taken]
    reserved = len(specials) + len(byte_tokens)
    wanted = size or DEFAULT_SIZE
    if wanted <= reserved:
        raise CorpusError(f"A vocabulary of {wanted:,} has no room for text: {reserved:,} special and byte tokens.")
    if not any(map(str.strip, lines)):
        raise CorpusError("The text of the new language holds nothing to make a vocabulary from.")
    room = wanted - reserved + bool(unknown)
    shared: list[str] = []
    if wordpiece:
        shared = [token for token in shared_tokens(plain_backend(source), prefix, lines) if token not in taken]
        if units is not None:  # its tokens have one form for all places in a word
            shared = [token for token in shared if not token.startswith(prefix)]
        if size is not None:
            shared = shared[: int(_SHARED * room)]
        else:
            room, wanted = room + len(shared), wanted + len(shared)
    try:
        if units is None:
            learned = _with_shared(_learn(state, lines, room, min_count, unknown), shared, room)
        else:
            learned = learn(state, lines, room, unknown, units, min_count, shared)
    except Exception as error:  # the trainer of Unigram models has no class of its own for this
        if "contain all chars" not in str(error):
            raise
        raise _too_small(wanted, reserved + len(set().union(*lines))) from None
    taken.update(byte_tokens)
    entries = learned["vocab"]
    scores = dict(entries) if isinstance(entries, list) else {}
    by_id = [entry[0] for entry in entries] if scores else sorted(entries, key=entries.__getitem__)
    pieces = byte_tokens + [token for token in by_id if token not in taken]
    if len(pieces) == len(byte_tokens):
        raise CorpusError("The text of the new language holds nothing to make a vocabulary from.")
    supported = len(pieces) + len(specials)
    if size is not None and supported < size:
        raise CorpusError(
            f"A vocabulary of {size:,} tokens was asked for and the text supports {supported:,}: "
            "give more text, or a smaller --vocab-size, or leave the size out."
        )
    if supported > wanted:
        raise _too_small(wanted, supported)
    tokens = _place({index: token["content"] for index, token in specials.items()}, pieces)
    if scores:
        lowest = min(scores.values(), default=0.0)
        learned["vocab"] = [[token, scores.get(token, lowest if token in byte_tokens else 0.0)] for token in tokens]
        learned["unk_id"] = tokens.index(unknown) if unknown else None
    else:
        learned["vocab"] = {token: index for index, token in enumerate(tokens)}
    for key in ("byte_fallback", "ignore_merges"):
        if key in model:
            learned[key] = model[key]
    state["model"] = learned
    return _assemble(source, state, specials, tokens)


def _assemble(
    source: PreTrainedTokenizerBase, state: dict[str, Any], specials: dict[int, dict[str, Any]], tokens: list[str]
) -> PreTrainedTokenizerFast:
    """A transformers tokenizer around the serialised state, with the source's roles and length limit."""
    index_of = {token: index for index, token in enumerate(tokens)}
    moved = {old: index_of[token["content"]] for old, token in specials.items()}
    state["added_tokens"] = sorted(
        ({**token, "id": moved[old]} for old, token in specials.items()), key=lambda token: int(token["id"])
    )
    state["padding"] = state["truncation"] = None
    renumber_processor(state["post_processor"], index_of)
    return around(source, state)
