"""The trained tokenizer: of the source's kind, special tokens by role, no accent lost, the same in every process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import tiny
from lingraft.errors import CorpusError, ModelError
from lingraft.surgery import save_tokenizer
from lingraft.vocabulary import (
    all_special_ids,
    backend_json,
    frame,
    keep_accents,
    notation,
    plain_backend,
    special_ids,
    tokenizer_hash,
    train_tokenizer,
)

VIETNAMESE = "tiếng việt có sáu thanh điệu khác nhau"
HINDI = "हिन्दी में मात्राएँ लिखी जाती हैं"
LINES = [*[tiny.cipher(line) for line in tiny.english_lines()], *[VIETNAMESE, HINDI] * 5]


def scattered(tokenizer: PreTrainedTokenizerFast, seed: int = 3) -> PreTrainedTokenizerFast:
    """The tokenizer with its ids, special ones too, in random order."""
    return tiny.renumbered(tokenizer, np.random.default_rng(seed).permutation(len(tokenizer)))


def types(part: Any) -> list[str]:
    """Every ``type`` in a part of a serialised tokenizer."""
    if isinstance(part, dict):
        own = [part["type"]] if "type" in part else []
        return own + [name for value in part.values() for name in types(value)]
    return [name for value in part for name in types(value)] if isinstance(part, list) else []


def test_is_of_the_same_kind_as_the_source(any_tokenizer: PreTrainedTokenizerFast) -> None:
    source = backend_json(any_tokenizer)
    # a byte-level pattern gets marks where the text has some (test_marks.py)
    lines = [line for line in LINES if line != HINDI] if notation(source) == "bytelevel" else LINES
    target = backend_json(train_tokenizer(any_tokenizer, lines))
    assert target["model"]["type"] == source["model"]["type"]
    assert notation(target) == notation(source)
    for part in ("pre_tokenizer", "decoder"):
        assert target[part] == source[part]
    assert types(target["normalizer"]) == types(source["normalizer"])
    assert types(target["post_processor"]) == types(source["post_processor"])
    for key in ("byte_fallback", "ignore_merges", "fuse_unk", "unk_token", "continuing_subword_prefix"):
        assert (target["model"].get(key) or None) == (source["model"].get(key) or None)


def test_special_tokens_keep_their_ids_where_they_fit(any_tokenizer: PreTrainedTokenizerFast) -> None:
    target = train_tokenizer(any_tokenizer, LINES)
    assert len(target) >= max(special_ids(any_tokenizer).values())
    assert special_ids(target) == special_ids(any_tokenizer)
    for identifier in special_ids(any_tokenizer).values():
        assert target.convert_ids_to_tokens(identifier) == any_tokenizer.convert_ids_to_tokens(identifier)


@pytest.mark.parametrize("kind", ["bytebpe", "unigram"])
def test_a_special_token_beyond_a_smaller_vocabulary_moves_to_its_end(kind: str) -> None:
    source = tiny.TOKENIZERS[kind]()
    size = {"bytebpe": 300, "unigram": 200}[kind]
    assert source.mask_token_id >= size
    target = train_tokenizer(source, LINES, size)
    assert special_ids(target) == special_ids(source) | {"mask": size - 1}


@pytest.mark.parametrize(
    ("kind", "size"),
    [*zip(sorted(tiny.TOKENIZERS), (300, 350, 200, 270), strict=True), *((kind, None) for kind in tiny.TOKENIZERS)],
)
def test_ids_are_dense_wherever_the_source_has_its_special_tokens(kind: str, size: int | None) -> None:
    source = scattered(tiny.TOKENIZERS[kind]())
    if size:
        assert size < max(special_ids(source).values()), "one has to move"
    target = train_tokenizer(source, LINES, size)
    assert sorted(target.get_vocab().values()) == list(range(len(target)))
    assert len(backend_json(target)["model"]["vocab"]) == len(target)
    for role, old in special_ids(source).items():
        new = special_ids(target)[role]
        assert target.convert_ids_to_tokens(new) == source.convert_ids_to_tokens(old)
        assert new == old if old < len(target) else new >= len(target) - len(target.all_special_ids)


PROCESSORS = {
    "bert": {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]},
    "roberta": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True,
                "add_prefix_space": False},
    "sequence": {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]},
    ]},
}  # fmt: skip


def test_the_template_uses_the_new_ids(any_tokenizer: PreTrainedTokenizerFast) -> None:
    target = train_tokenizer(scattered(any_tokenizer), LINES)
    single, pair = target("bé").input_ids, target("bé", "cô").input_ids
    cls, sep = target.cls_token_id, target.sep_token_id
    assert (single[0], single[-1]) == (cls, sep)
    assert pair.count(sep) == 2
    assert pair[: len(single)] == single
    assert frame(target) == ([cls], [sep])


@pytest.mark.parametrize("name", PROCESSORS)
def test_other_post_processors_use_the_new_ids(name: str) -> None:
    small = [*range(5, 401), *range(5)]  # special tokens at the end, where a smaller vocabulary has no place for them
    text = json.dumps(PROCESSORS[name])
    state = json.loads(text.replace('"</s>", 2', '"</s>", 398').replace('"<s>", 0', '"<s>", 396'))
    source = tiny.rebuilt(tiny.renumbered(tiny.bytebpe_tokenizer(), small), post_processor=state)
    assert frame(source) == ([source.cls_token_id], [source.sep_token_id])
    target = train_tokenizer(source, LINES, 300)
    assert {target.cls_token_id, target.sep_token_id} <= set(range(294, 300))
    assert frame(target) == ([target.cls_token_id], [target.sep_token_id])


def test_a_tokenizer_without_template_stays_without() -> None:
    source = tiny.rebuilt(tiny.bytebpe_tokenizer(), post_processor=None)
    target = train_tokenizer(source, LINES)
    assert frame(target) == ([], [])


@pytest.mark.parametrize("text", [VIETNAMESE, HINDI, LINES[0]])
def test_decoding_gives_the_text_back_with_every_accent(any_tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    target = train_tokenizer(any_tokenizer, LINES)
    ids = target(text).input_ids
    assert target.unk_token_id not in ids
    assert target.decode(ids, skip_special_tokens=True) == text


def test_the_accent_stripping_source_really_strips(wordpiece: PreTrainedTokenizerFast) -> None:
    backend = plain_backend(wordpiece)
    assert backend.normalizer.normalize_str("việt") == "viet"
    assert plain_backend(train_tokenizer(wordpiece, LINES)).normalizer.normalize_str("Việt") == "việt"


@pytest.mark.parametrize("lowercase", [True, False])
def test_lower_casing_follows_the_source(wordpiece: PreTrainedTokenizerFast, lowercase: bool) -> None:
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                  "lowercase": lowercase}  # fmt: skip
    source = tiny.rebuilt(wordpiece, normalizer=normalizer)
    target = train_tokenizer(source, [*LINES, *["Một Hai"] * 3])
    decoded = target.decode(target("Một hai").input_ids, skip_special_tokens=True)
    assert decoded == ("một hai" if lowercase else "Một hai")


def test_keep_accents_turns_decomposition_into_composition() -> None:
    stripping = {"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "Lowercase"}, {"type": "StripAccents"}]}
    kept = {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}
    assert keep_accents(stripping) == kept
    assert stripping["normalizers"][0] == {"type": "NFKD"}, "the argument itself must not change"
    untouched = {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]}
    assert keep_accents(untouched) == untouched
    nested = {"type": "Sequence", "normalizers": [stripping, {"type": "Lowercase"}]}
    assert "StripAccents" not in types(keep_accents(nested))
    assert keep_accents({"type": "StripAccents"}) is None
    assert keep_accents(None) is None


def test_byte_fallback_spells_what_was_never_seen() -> None:
    target = train_tokenizer(tiny.bytefallback_tokenizer(), LINES)
    vocabulary = target.get_vocab()
    assert {f"<0x{byte:02X}>" for byte in range(256)} <= set(vocabulary)
    ids = target("bé ☃", add_special_tokens=False).input_ids
    assert target.convert_ids_to_tokens(ids)[-3:] == ["<0xE2>", "<0x98>", "<0x83>"]
    assert target.decode(ids) == "bé ☃"


def test_byte_tokens_marked_special_are_not_doubled() -> None:
    source = tiny.bytefallback_tokenizer()
    source.add_special_tokens({"additional_special_tokens": [f"<0x{byte:02X}>" for byte in range(256)]})
    target = train_tokenizer(source, LINES, 400)
    assert sorted(target.get_vocab().values()) == list(range(400))
    assert len(backend_json(target)["model"]["vocab"]) == 400


@pytest.mark.parametrize("form", ["llama2", "llama", "gemma"])
def test_no_piece_reaches_across_words(form: str) -> None:
    """Llama's and Gemma's files hand a whole line to the model; what is learned must still be words and their parts."""
    parts = {
        "llama2": {},
        "llama": {"normalizer": None, "pre_tokenizer": {
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}},
        "gemma": {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, "pre_tokenizer": {
            "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}},
    }[form]  # fmt: skip
    source = tiny.rebuilt(tiny.bytefallback_tokenizer(), **parts)
    target = train_tokenizer(source, ["bon jour bon jour"] * 50)
    assert {"▁bon", "▁jour"} <= set(target.get_vocab())
    assert [token for token in target.get_vocab() if "▁" in token[1:]] == []
    assert backend_json(target)["pre_tokenizer"] == backend_json(source)["pre_tokenizer"]


@pytest.mark.parametrize("config", [True, False])
def test_auto_tokenizer_reads_the_same_tokenizer_back(
    any_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, config: bool
) -> None:
    target = train_tokenizer(any_tokenizer, LINES)
    if config:  # transformers would choose the class by the model's type, and build another normaliser
        kind = backend_json(target)["model"]["type"]
        name = {"WordPiece": "bert", "Unigram": "xlm-roberta", "BPE": "llama"}[kind]
        (tmp_path / "config.json").write_text(json.dumps({"model_type": name}), encoding="utf-8")
    save_tokenizer(target, tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer_hash(loaded) == tokenizer_hash(target)
    assert special_ids(loaded) == special_ids(target)
    assert loaded.model_max_length == any_tokenizer.model_max_length
    for text in (VIETNAMESE, HINDI, LINES[1]):
        assert loaded(text).input_ids == target(text).input_ids


def test_padding_and_truncation_of_the_source_are_switched_off(any_tokenizer: PreTrainedTokenizerFast) -> None:
    backend = Tokenizer.from_str(any_tokenizer.backend_tokenizer.to_str())
    backend.enable_padding(length=12)
    backend.enable_truncation(5)
    state = json.loads(backend.to_str())
    source = tiny.rebuilt(any_tokenizer, padding=state["padding"], truncation=state["truncation"])
    assert len(source.backend_tokenizer.encode("a").ids) == 12
    target = train_tokenizer(source, LINES)
    lengths = [len(target.backend_tokenizer.encode(text).ids) for text in ("bé", " ".join(LINES[:3]))]
    assert lengths[0] < 12 < lengths[1]
    assert tokenizer_hash(target) == tokenizer_hash(train_tokenizer(any_tokenizer, LINES))


def test_a_size_the_text_cannot_support_is_refused_with_the_one_it_can(any_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(CorpusError, match=r"12,345 tokens.* supports ([\d,]+)") as refusal:
        train_tokenizer(any_tokenizer, LINES, 12_345)
    supported = int(re.findall(r"supports ([\d,]+)", str(refusal.value))[0].replace(",", ""))
    assert len(train_tokenizer(any_tokenizer, LINES, supported)) == supported
    with pytest.raises(CorpusError, match=f"{supported + 1:,} tokens.* supports {supported:,}"):
        train_tokenizer(any_tokenizer, LINES, supported + 1)


@pytest.mark.parametrize("kind", ["wordpiece", "bytefallback", "unigram"])
def test_a_size_too_small_for_the_characters_is_refused(kind: str) -> None:
    lines = ["".join(chr(0x4E00 + (37 * i + j) % 900) for j in range(20)) for i in range(100)]
    with pytest.raises(CorpusError, match=r"400 tokens is too small for the text.* ([\d,]+):") as refusal:
        train_tokenizer(tiny.TOKENIZERS[kind](), lines, 400)
    assert int(re.findall(r"need ([\d,]+)", str(refusal.value))[0].replace(",", "")) > 900


def test_a_size_without_room_for_text_is_refused(any_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(CorpusError, match=r"A vocabulary of 4 has no room for text: \d+ special"):
        train_tokenizer(any_tokenizer, LINES, 4)


@pytest.mark.parametrize("lines", [[], [""], ["  ", "\t"]])
def test_empty_text_is_refused(any_tokenizer: PreTrainedTokenizerFast, lines: list[str]) -> None:
    with pytest.raises(CorpusError, match="holds nothing"):
        train_tokenizer(any_tokenizer, lines)


def test_ordinary_added_tokens_of_the_source_are_left_behind(any_tokenizer: PreTrainedTokenizerFast) -> None:
    any_tokenizer.add_tokens(["brandname"])
    any_tokenizer.add_special_tokens({"additional_special_tokens": ["<|extra|>"]})
    target = train_tokenizer(any_tokenizer, LINES)
    assert "brandname" not in target.get_vocab()
    assert target.convert_tokens_to_ids("<|extra|>") in all_special_ids(target)


def test_a_word_level_source_is_refused() -> None:
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}
    source = tiny.rebuilt(tiny.wordpiece_tokenizer(), model=model, added_tokens=[], post_processor=None)
    with pytest.raises(ModelError, match="WordLevel"):
        train_tokenizer(source, LINES)


_HASHES = """
import json, pathlib, sys
from transformers import AutoTokenizer
from lingraft.vocabulary import tokenizer_hash, train_tokenizer
folder = pathlib.Path(sys.argv[1])
lines, sizes = json.loads((folder / "given.json").read_text(encoding="utf-8"))
for kind, wanted in sizes:
    target = train_tokenizer(AutoTokenizer.from_pretrained(folder / kind), lines, wanted)
    sys.stdout.write(f"{kind} {len(target)} {tokenizer_hash(target)}\\n")
"""


def test_every_process_trains_the_same_tokenizer(tmp_path: Path) -> None:
    """A killed run must go on with the same ids; the trainers' hash maps have another seed in every process."""
    random = np.random.default_rng(0)
    rare = ["".join(map(chr, random.integers(0x3B1, 0x3C9, 6))) for _ in range(30)]  # characters, hardly repeated
    lines = [*LINES, *rare, *"абвгдежзиклмн"]
    sizes = [*[(kind, None) for kind in tiny.TOKENIZERS], ("wordpiece", 360), ("bytefallback", 460), ("unigram", 260)]
    (tmp_path / "given.json").write_text(json.dumps([lines, sizes]), encoding="utf-8")
    expected = []
    for kind, make in tiny.TOKENIZERS.items():
        save_tokenizer(make(), tmp_path / kind)
    for kind, wanted in sizes:
        target = train_tokenizer(AutoTokenizer.from_pretrained(tmp_path / kind), lines, wanted)
        expected.append(f"{kind} {len(target)} {tokenizer_hash(target)}")
    assert len(set(expected)) == len(sizes)
    other = subprocess.run(
        [sys.executable, "-c", _HASHES, str(tmp_path)], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert other.stdout.splitlines() == expected
