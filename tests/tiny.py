"""Small random models and tokenizers of every kind, built offline, and a cipher language whose translation is known."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    RobertaConfig,
    RobertaForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from lingraft.vocabulary import ROLES

_SYLLABLES = [c + v for c in "bdfgklmnprst" for v in "aeiou"]


@lru_cache
def words(n: int = 300) -> tuple[str, ...]:
    """Invented English-like words, all different."""
    random = np.random.default_rng(1)
    found: dict[str, None] = {}
    while len(found) < n:
        found["".join(random.choice(_SYLLABLES, random.integers(1, 4)))] = None
    return tuple(found)


def english_lines(n: int = 400, seed: int = 0, longest: int = 12) -> list[str]:
    """Sentences of invented words with Zipf-like frequencies."""
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(words()) + 1)
    weights /= weights.sum()
    return [" ".join(random.choice(words(), random.integers(3, longest), p=weights)) for _ in range(n)]


def cipher_word(word: str) -> str:
    """The word in the cipher language: other letters, with accents, one to one."""
    return word.translate(str.maketrans("aeioubdfgklmnprst", "éàùîôzvbqjxcñwdgp"))


def cipher(line: str) -> str:
    """A line in the cipher language: word by word, order kept."""
    return " ".join(cipher_word(word) for word in line.split())


def cipher_pairs(n: int = 400, seed: int = 0) -> list[tuple[str, str]]:
    """English lines and their cipher translations."""
    return [(line, cipher(line)) for line in english_lines(n, seed)]


def mirrored(line: str) -> str:
    """A line in the mirror language: every word backwards, with other vowels, order kept."""
    return " ".join(word[::-1].translate(str.maketrans("aeiou", "øæåĭŭ")) for word in line.split())


def mirror_pairs(n: int = 400, seed: int = 0) -> list[tuple[str, str]]:
    """English lines and their translations into the mirror language."""
    return [(line, mirrored(line)) for line in english_lines(n, seed)]


def _finish(tokenizer: Tokenizer, roles: dict[str, str]) -> PreTrainedTokenizerFast:
    first, last = roles["cls_token"], roles["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(first, tokenizer.token_to_id(first)), (last, tokenizer.token_to_id(last))],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **roles)


_ROBERTA_ROLES = {
    "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>",
    "unk_token": "<unk>", "mask_token": "<mask>",
}  # fmt: skip
_ROBERTA_FIRST = ["<s>", "<pad>", "</s>", "<unk>"]


def _trained_once(make: Callable[..., PreTrainedTokenizerFast]) -> Callable[..., PreTrainedTokenizerFast]:
    """Training numbers ties at random, so a tokenizer is trained once and handed out in copies."""
    cached = lru_cache(make)

    def copied(*args: int) -> PreTrainedTokenizerFast:
        return copy.deepcopy(cached(*args))

    return copied


@_trained_once
def wordpiece_tokenizer(size: int = 300) -> PreTrainedTokenizerFast:
    """Uncased, accent-stripping, special tokens in the middle of the vocabulary, as BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    specials = ["[PAD]", *[f"[unused{k}]" for k in range(5)], "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator([*english_lines(), "0 1 2 3 4 5 6 7 8 9 . , ? !"], trainer)
    return _finish(
        tokenizer,
        {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")},
    )


@_trained_once
def bytebpe_tokenizer(size: int = 400) -> PreTrainedTokenizerFast:
    """Byte-level BPE with the mask token last, as RoBERTa's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=_ROBERTA_FIRST, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(english_lines(), trainer)
    tokenizer.add_special_tokens(["<mask>"])
    return _finish(tokenizer, _ROBERTA_ROLES)


@_trained_once
def bytefallback_tokenizer(size: int = 500) -> PreTrainedTokenizerFast:
    """SentencePiece-style BPE with byte fallback and no pre-tokenizer, as Llama 2's."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = [*_ROBERTA_FIRST, *[f"<0x{byte:02X}>" for byte in range(256)]]
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(english_lines(), trainer)
    tokenizer.pre_tokenizer = None
    # the byte tokens are ordinary tokens of the vocabulary, as in Llama 2's file
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][: len(_ROBERTA_FIRST)]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    roles = {role: token for role, token in _ROBERTA_ROLES.items() if role != "mask_token"}
    return _finish(tokenizer, roles)


@_trained_once
def unigram_tokenizer(size: int = 300) -> PreTrainedTokenizerFast:
    """SentencePiece unigram, as XLM-R's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=_ROBERTA_FIRST, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(english_lines(), trainer)
    tokenizer.add_special_tokens(["<mask>"])
    return _finish(tokenizer, _ROBERTA_ROLES)


#: as Qwen's: every message between two special tokens, and one that is none
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if tools %}<tool_call>{% endif %}"
)


@_trained_once
def chat_tokenizer(size: int = 400) -> PreTrainedTokenizerFast:
    """Byte-level BPE with a chat template, as Qwen2's: of a class of its own, nothing around a text, no ``unk``."""
    pipeline = json.loads(Qwen2Tokenizer().backend_tokenizer.to_str())
    trained = Tokenizer.from_str(json.dumps(pipeline | {"added_tokens": []}))
    trainer = trainers.BpeTrainer(
        vocab_size=size - 4, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    trained.train_from_iterator(english_lines(), trainer)
    model = json.loads(trained.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], unk_token=None, model_max_length=64,
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )  # fmt: skip
    tokenizer.add_tokens(["<tool_call>"])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


TOKENIZERS = {
    "wordpiece": wordpiece_tokenizer,
    "bytebpe": bytebpe_tokenizer,
    "bytefallback": bytefallback_tokenizer,
    "unigram": unigram_tokenizer,
}


def rebuilt(tokenizer: PreTrainedTokenizerFast, **changes: Any) -> PreTrainedTokenizerFast:
    """The tokenizer with parts of its serialised form replaced, its roles kept."""
    state = json.loads(tokenizer.backend_tokenizer.to_str()) | changes
    roles = {name: getattr(tokenizer, name) for name in (f"{role}_token" for role in ROLES)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), model_max_length=tokenizer.model_max_length,
        **{name: token for name, token in roles.items() if token is not None},
    )  # fmt: skip


def renumbered(tokenizer: PreTrainedTokenizerFast, order: Sequence[int]) -> PreTrainedTokenizerFast:
    """The same tokenizer with other ids: its token k is token ``order[k]`` of the one given."""
    tokens = [tokenizer.convert_ids_to_tokens(int(old)) for old in order]
    index_of = {token: index for index, token in enumerate(tokens)}
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
        model |= {"vocab": [[token, scores.get(token, 0.0)] for token in tokens], "unk_id": index_of["<unk>"]}
    else:
        model["vocab"] = index_of
    added = [{**token, "id": index_of[token["content"]]} for token in state["added_tokens"]]
    for entry in state["post_processor"]["special_tokens"].values():
        entry["ids"] = [index_of[token] for token in entry["tokens"]]
    return rebuilt(
        tokenizer,
        model=model,
        added_tokens=sorted(added, key=lambda token: token["id"]),
        post_processor=state["post_processor"],
    )


_SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def bert(tokenizer: PreTrainedTokenizerFast, head: bool = True, seed: int = 0, padding: int = 0) -> PreTrainedModel:
    """A random BERT, with or without its masked-LM head; padding: rows beyond the tokenizer's."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer) + padding, max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id, **_SHAPE
    )
    return (BertForMaskedLM(config) if head else BertModel(config)).eval()


def roberta(tokenizer: PreTrainedTokenizerFast, seed: int = 0, **overrides: object) -> PreTrainedModel:
    """A random RoBERTa with its masked-LM head."""
    torch.manual_seed(seed)
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
           "eos_token_id": tokenizer.eos_token_id}  # fmt: skip
    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, **_SHAPE, **ids, **overrides)
    return RobertaForMaskedLM(config).eval()


def xlm_roberta(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> PreTrainedModel:
    """A random XLM-R with its masked-LM head."""
    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=tokenizer.pad_token_id, **_SHAPE
    )
    return XLMRobertaForMaskedLM(config).eval()


def gpt2(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> PreTrainedModel:
    """A random GPT-2, embeddings tied to the head."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=4,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def llama(tokenizer: PreTrainedTokenizerFast, tied: bool = False, seed: int = 0) -> PreTrainedModel:
    """A random Llama, by default with separate input and output embeddings."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, tie_word_embeddings=tied, num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, **_SHAPE,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def with_common_part(model: PreTrainedModel) -> PreTrainedModel:
    """Gives all hidden states something in common, as those of trained decoders have."""
    rows = model.get_input_embeddings().weight
    with torch.no_grad():
        rows += 4 * rows.std() * torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(2))
    return model


def sentence_folder(path: str, tokenizer: PreTrainedTokenizerFast | None = None) -> str:
    """Writes a small sentence-transformers folder (BERT, mean pooling, normalise) and returns its path."""
    try:
        from sentence_transformers.sentence_transformer import modules
    except ImportError:  # its home before sentence-transformers 5.4
        from sentence_transformers import models as modules

    tokenizer = tokenizer or wordpiece_tokenizer()
    encoder = bert(tokenizer, head=False)
    inner = f"{path}-transformer"
    encoder.save_pretrained(inner)
    tokenizer.save_pretrained(inner)
    transformer = modules.Transformer(inner)
    pooling = modules.Pooling(encoder.config.hidden_size)
    SentenceTransformer(modules=[transformer, pooling, modules.Normalize()], device="cpu").save_pretrained(
        path, create_model_card=False
    )
    return path
