"""Objective ``distill``: sentence embeddings of the new language where the English model puts the translation's."""

from __future__ import annotations

import copy

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from ..corpus import TokenSequences
from ..recipe import ONLY
from ..surgery import LanguageModel
from ..vocabulary import frame
from .data import Array, LengthBatches, pad
from .encoder import flop_forward
from .language_modelling import special_tokens
from .negatives import Negatives
from .segmentation import Segmentations
from .teacher import TeacherEmbeddings
from .timing import Stopwatch

#: random numbers of `Segmentations` are others than those of `LengthBatches`
_SEGMENTING = 1


class Distillation:
    """Objective ``distill``: the foreign sentence goes where the untouched English model puts its translation.

    The loss is the mean squared distance of the unit vectors (twice one minus their cosine) plus, with a weight, the
    cross-entropy of finding the right English sentence among those of the batch and as many of the steps before as
    negatives says (temperature as given). When a body
    trains that English uses too (hold), English sentences are held at the teacher's embeddings the same way, so that
    old English indexes stay valid; without hold English takes no part, and its model must not train.

    With a token_weight every foreign token is pulled, too, to where the teacher has the English tokens it corresponds
    to: the mean of their last hidden states under p(English token | foreign token) of the translation table among the
    tokens of the sentence, compared by cosine. table: that matrix, CSR (foreign tokens, English tokens).

    subword_regularization: with this probability a foreign token is replaced by two that spell it (`Segmentations`),
    anew in every step.

    tokens_at_once: so many tokens of a text, padding counted, one forward pass holds at most; see `at_once`. What
    segmentations add comes on top.

    name: of the new language, in ``loss_NAME``, ``cosine_NAME`` and ``tokens_NAME``. teacher: the untouched English
    model where there is one already; otherwise English as it is now is copied. languages: how many new languages a run
    has, each with a distillation of its own; each then shows its part of ``loss_en``, the mean over them.
    """

    def __init__(
        self, english: LanguageModel, foreign: LanguageModel, english_text: TokenSequences,
        foreign_text: TokenSequences, *, batch_size: int, contrast: float, temperature: float, seed: int,
        device: torch.device, token_weight: float = 0.0, table: sparse.csr_matrix | None = None, name: str = ONLY,
        teacher: LanguageModel | None = None, languages: int = 1, hold: bool = True,
        subword_regularization: float = 0.0, tokens_at_once: int | None = None, negatives: int = 0,
    ) -> None:  # fmt: skip
        self._name = name
        self._languages = languages
        self._english, self._foreign = english, foreign
        self._hold = hold
        self.module: nn.Module = nn.ModuleList([english.model, foreign.model] if hold else [foreign.model])
        self._texts = {"en": english_text, "xx": foreign_text}
        self._teacher = teacher or untouched(english)
        self._lengths = {side: text.lengths for side, text in self._texts.items()}
        self._batches = LengthBatches(np.maximum(self._lengths["en"], self._lengths["xx"]), batch_size, seed)
        self._forward_flop = flop_forward(foreign.model, int(self._lengths["xx"].mean()), 0.0)
        self._taught = TeacherEmbeddings(
            self._batches, lambda lines: self._run(self._teacher, self._english_of(lines))[1]
        )
        self._negatives = Negatives(english_text, self._batches, negatives if contrast else 0, self._taught_at)
        self._tokens_at_once = tokens_at_once
        self._contrast = contrast
        self._temperature = temperature
        self._device = device
        #: time spent on making batches, for the meter
        self.waiting = Stopwatch()
        self._segmentations = (
            Segmentations(foreign.tokenizer, subword_regularization) if subword_regularization else None
        )
        #: segmentations need no more memory than the longest sentence does by itself
        self._longest = int(self._lengths["xx"].max())
        self._seed = seed
        self._segmented: tuple[int, list[Array]] = (-1, [])
        self._token_weight = token_weight
        if token_weight and table is None:
            raise ValueError("tokens are pulled by a translation table, and none is given")
        # a special token has no counterpart to go to
        self._table = None if table is None else sparse.diags_array(
            (~special_tokens(foreign)).astype(np.float32)
        ) @ sparse.csr_array(table)  # fmt: skip

    def _english_of(self, lines: Array) -> list[Array]:
        return [self._texts["en"][line] for line in lines]

    def _foreign_of(self, step: int) -> list[Array]:
        """The foreign sentences of a step's whole batch, segmented anew where that is asked for."""
        if self._segmented[0] != step:
            with self.waiting:
                text = [self._texts["xx"][line] for line in self._batches[step]]
                if self._segmentations:
                    random = np.random.default_rng([self._seed, step, _SEGMENTING])
                    text = self._segmentations.sample(text, self._longest, random)
            self._segmented = (step, text)
        return self._segmented[1]

    def _taught_at(self, step: int) -> Tensor:
        """The teacher's embeddings of a step's English side, the same whenever they are asked for."""
        lines = self._batches[step]
        return self._run(self._teacher, self._english_of(lines))[1] if self._token_weight else self._taught[lines]

    def _run(self, model: LanguageModel, text: list[Array]) -> tuple[Tensor, Tensor]:
        """Last hidden states (lines, length, width) and unit sentence embeddings (lines, width)."""
        with self.waiting:
            padded = pad(text, model.tokenizer.pad_token_id or 0)
        ids, mask = (torch.from_numpy(part).to(self._device) for part in padded)
        hidden = model.model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden, F.normalize(model.pool(hidden, ids, mask).float(), dim=-1)

    def loss(self, step: int, both: bool, part: int = 0, parts: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`. The sentences to tell apart are the same whatever the parts."""
        lines = self._batches[step]
        mine = np.array_split(np.arange(lines.size), parts)[part]
        share = mine.size / lines.size
        if not mine.size:
            return torch.zeros((), device=self._device), {}
        sentences = self._foreign_of(step)[mine[0] : mine[-1] + 1]
        with torch.no_grad():
            if self._token_weight:
                teacher_hidden, embeddings = self._run(self._teacher, self._english_of(lines))
                self._negatives.know(step, embeddings)
            candidates = self._negatives(step)
        chosen = torch.from_numpy(mine).to(self._device)
        teacher = candidates.embeddings[chosen]
        student_hidden, student = self._run(self._foreign, sentences)
        cosine = (student * teacher).sum(-1)
        loss = 2 * (1 - cosine.mean())
        if self._contrast:
            scores = student @ candidates.embeddings.T / self._temperature
            loss = loss + self._contrast * F.cross_entropy(candidates.only_right(scores, mine), chosen)
        losses = {f"loss_{self._name}": share * loss.detach(), f"cosine_{self._name}": share * cosine.detach().mean()}
        if self._token_weight:
            apart = self._token_distance(student_hidden, teacher_hidden[chosen], sentences, lines[mine])
            losses[f"tokens_{self._name}"] = share * apart.detach()
            loss = loss + self._token_weight * apart
        if both and self._hold:
            _, held = self._run(self._english, self._english_of(lines[mine]))
            anchor = 2 * (1 - (held * teacher).sum(-1).mean())
            losses["loss_en"] = share * anchor.detach() / self._languages
            loss = loss + anchor
        return share * loss, losses

    def _token_distance(self, student: Tensor, teacher: Tensor, sentences: list[Array], lines: Array) -> Tensor:
        """Mean over sentences of the mean of 2 (1 - cosine) between foreign tokens and what they correspond to."""
        with self.waiting:
            shares = self._correspondence(sentences, lines, student.shape[1], teacher.shape[1])
        weights = torch.from_numpy(shares).to(student.device)
        wanted = torch.bmm(weights.to(teacher.dtype), teacher)
        known = weights.sum(-1) > 0
        apart = 2 * (1 - F.cosine_similarity(student.float(), wanted.float(), dim=-1)) * known
        return (apart.sum(1) / known.sum(1).clamp(min=1)).mean()

    def _correspondence(self, sentences: list[Array], lines: Array, foreign: int, english: int) -> Array:
        """Share of each English token in each foreign one, float32 (lines, foreign, english); a row sums to 1 or 0."""
        weights = np.zeros((lines.size, foreign, english), np.float32)
        for row, (theirs, line) in enumerate(zip(sentences, lines, strict=True)):
            ours = self._texts["en"][line]
            # a token that occurs twice has its share split between its places by the normalisation below
            found = self._table[theirs][:, ours].toarray()  # type: ignore[index]
            weights[row, : theirs.size, : ours.size] = found
        weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-9)
        return weights

    def at_once(self, step: int) -> int | None:
        """See `Objective`: by the longest sentence, as a batch of long ones needs many times the memory of others."""
        if self._tokens_at_once is None:
            return None
        lines = self._batches[step]
        longest = max(int(lengths[lines].max()) for lengths in self._lengths.values())
        return max(1, self._tokens_at_once // max(1, longest))

    def _passes(self, step: int, both: bool) -> list[tuple[int, int]]:
        """Tokens of a step by text, and passes over them: one forwards, two backwards, one through a frozen body."""
        lines = self._batches[step]
        english = int(self._lengths["en"][lines].sum())
        foreign = sum(sentence.size for sentence in self._foreign_of(step))
        asked = self._token_weight or not self._taught.repeats(step)
        return [(foreign, 3 if both else 2), (english, 1 if asked else 0), (english, 3 if both and self._hold else 0)]

    def tokens(self, step: int, both: bool) -> int:
        """See `Objective`; the teacher's are counted where it is asked."""
        return sum(tokens for tokens, passes in self._passes(step, both) if passes)

    def flop(self, step: int, both: bool) -> float:
        """See `Objective`; a token of English is counted as one of the new language."""
        return self._forward_flop * sum(tokens * passes for tokens, passes in self._passes(step, both))


def untouched(english: LanguageModel) -> LanguageModel:
    """A copy of the English model as it is, which no training moves."""
    return english.with_model(copy.deepcopy(english.model).requires_grad_(False))


def framed(language_model: LanguageModel, text: TokenSequences) -> TokenSequences:
    """Every line as the model wants to see a single text: cut to its length limit, with its special tokens around."""
    before, after = frame(language_model.tokenizer)
    room = language_model.max_length - len(before) - len(after)
    return TokenSequences.from_lists(np.concatenate([before, text[k][:room], after]) for k in range(len(text)))
