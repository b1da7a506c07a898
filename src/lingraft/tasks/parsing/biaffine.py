"""The deep biaffine parser of Dozat & Manning (2017), on the hidden states of a pretrained encoder.

"Deep Biaffine Attention for Neural Dependency Parsing", equations 4 to 8. Four perceptrons make of every word a vector
as dependent and as head, for arcs and for labels; with a 1 at the end of a vector written as [x; 1],

    score of head h of word d      [arc_dependent(d); 1]^T U arc_head(h)
    score of its label l           [label_dependent(d); 1]^T V_l [label_head(h); 1]

so that the first knows how likely h is a head at all, and the second every bias there is. The paper's recurrent network
is the pretrained encoder here, and no part-of-speech tags are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...described import setting
from ...errors import RecipeError
from ..subwords import WordBatch
from .treebank import UNKNOWN

Pooling = Literal["first", "mean"]
Layers = Literal["last", "mix"]
Root = Literal["auto", "cls", "vector"]


@dataclass(frozen=True)
class ParserSettings:
    """Shape of the parser on top of the encoder. RecipeError for a value that is impossible."""

    pooling: Pooling = setting("mean", "", "a word is the mean of its subwords, or the vector of the `first`")
    layers: Layers = setting("mix", "", "a learned weighted mean of all the encoder's layers, or its `last` one")
    root: Root = setting(
        "auto",
        "",
        "what stands for the head of the root word: the vector of the token that the tokenizer puts before a text "
        "(`cls`), or a learned one (`vector`); `auto` is the first where there is such a token",
    )
    arc_size: int = setting(500, "dimensions", "width of the perceptrons for arcs")
    label_size: int = setting(100, "dimensions", "width of the perceptrons for labels")
    dropout: float = setting(0.33, "probability", "dropout on words and perceptrons")

    def __post_init__(self) -> None:
        for name, allowed in (("pooling", Pooling), ("layers", Layers), ("root", Root)):
            if getattr(self, name) not in get_args(allowed):
                raise RecipeError(
                    f"The parser's '{name}' is one of {', '.join(get_args(allowed))}; given: '{getattr(self, name)}'."
                )
        for name in ("arc_size", "label_size"):
            size = getattr(self, name)
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise RecipeError(f"The parser's '{name}' is a whole number of at least 1; given: {size!r}.")
        if not 0 <= self.dropout < 1:
            raise RecipeError(f"The parser's 'dropout' is at least 0 and less than 1; given: {self.dropout!r}.")


class LayerMix(nn.Module):
    """A weighted mean of layers, times a factor; both are learned (Peters et al. 2018, equation 1)."""

    def __init__(self, n_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(n_layers))
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """Float (words, width) out of one such tensor for each layer."""
        shares = self.factor * torch.softmax(self.weights, 0)
        return torch.einsum("l,lnd->nd", shares.to(layers[0].dtype), torch.stack(tuple(layers)))


def _perceptron(width: int, size: int, dropout: float) -> nn.Sequential:
    linear = nn.Linear(width, size)
    nn.init.orthogonal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.LeakyReLU(0.1), nn.Dropout(dropout))


def _with_one(vectors: Tensor) -> Tensor:
    return torch.cat([vectors, vectors.new_ones(*vectors.shape[:-1], 1)], -1)


class HeadDoubt(NamedTuple):
    """What else may be the head of a word than the one it was given, where that was concluded and not annotated.

    beside: weight of a word that got no head itself ("headless") and stands next to the word, or to the head given.
    other: weight of any other word, and of the root. Both 0 to 1; the head given has 1.

    With p the parser's probabilities of heads the loss of a word that was given h is

        -log(p(h) + beside * (p of headless words beside) + other * (p of all the rest))

    so that the parser settles by itself which of these words it is, and learns little from a head it is sure is wrong.
    """

    beside: float
    other: float


@dataclass(frozen=True)
class WordStates:
    """Words as the perceptrons see them, for N words of B sentences with at most W words.

    arcs: (B, W, W + 1), scores of heads; -inf for what is none: the word itself, and places beyond the sentence.
    label_dependent: (N, label size). label_head: (B + N, label size), the roots of all sentences before the words.
    inside: (B, W), bool, places with a word. offset: (B,), what to add to a head, counted from 1, to find it in
    ``label_head``. sentence: (N,), of each word.
    """

    arcs: Tensor
    label_dependent: Tensor
    label_head: Tensor
    inside: Tensor
    offset: Tensor
    sentence: Tensor


class BiaffineHead(nn.Module):
    """The layers on top of an encoder.

    width: of the encoder's hidden states. n_layers: layers of the encoder, its embeddings not counted. n_labels: how
    many relations there are. root_label, other_label: for each relation whether it may be that of the root word, and of
    any other; all may be if none is named.
    """

    root_label: Tensor
    other_label: Tensor

    def __init__(
        self,
        width: int,
        n_layers: int,
        n_labels: int,
        settings: ParserSettings,
        root_label: Sequence[bool] = (),
        other_label: Sequence[bool] = (),
    ) -> None:
        super().__init__()
        self.settings = settings
        sizes = (settings.arc_size, settings.label_size)
        self.dropout = nn.Dropout(settings.dropout)
        self.arc_dependent, self.label_dependent = (_perceptron(width, size, settings.dropout) for size in sizes)
        self.arc_head, self.label_head = (_perceptron(width, size, settings.dropout) for size in sizes)
        self.arc_weight = nn.Parameter(torch.zeros(settings.arc_size + 1, settings.arc_size))
        self.label_weight = nn.Parameter(torch.zeros(n_labels, settings.label_size + 1, settings.label_size + 1))
        self.mix = LayerMix(n_layers) if settings.layers == "mix" else None
        self.root = nn.Parameter(torch.randn(width)) if settings.root == "vector" else None
        for name, flags in (("root_label", root_label), ("other_label", other_label)):
            mask = torch.tensor(list(flags), dtype=torch.bool) if any(flags) else torch.ones(n_labels, dtype=torch.bool)
            self.register_buffer(name, mask, persistent=False)

    def words(self, hidden: Sequence[Tensor], batch: WordBatch) -> Tensor:
        """Vectors of all words, (N, width), after those of the roots, (B, width): float (B + N, width).

        hidden: the encoder's layers, each (rows, tokens, width); with ``layers="last"`` only the last one is read.
        """
        layers = [layer.flatten(0, 1) for layer in (hidden if self.mix else hidden[-1:])]
        n_sentences, width = batch.lengths.numel(), layers[0].shape[-1]
        first_tokens = batch.starts * batch.input_ids.shape[1]
        if self.settings.pooling == "first":
            pooled = [layer[batch.first] for layer in layers]
        else:
            word = torch.repeat_interleave(torch.arange(batch.count.numel(), device=batch.count.device), batch.count)
            begin = batch.count.cumsum(0) - batch.count
            token = batch.first[word] + torch.arange(word.numel(), device=word.device) - begin[word]
            zeros = [layer.new_zeros(batch.count.numel(), width) for layer in layers]
            sums = [start.index_add(0, word, layer[token]) for start, layer in zip(zeros, layers, strict=True)]
            pooled = [total / batch.count.unsqueeze(1).to(total.dtype) for total in sums]
        if self.root is None:
            pooled = [torch.cat([layer[first_tokens], words]) for layer, words in zip(layers, pooled, strict=True)]
        vectors = self.mix(pooled) if self.mix else pooled[0]
        if self.root is not None:
            vectors = torch.cat([self.root.to(vectors.dtype).expand(n_sentences, width), vectors])
        return self.dropout(vectors)  # type: ignore[no-any-return]

    def forward(self, hidden: Sequence[Tensor], batch: WordBatch) -> WordStates:
        """Scores of all arcs, and what scores of labels are made of."""
        lengths = batch.lengths
        n_sentences, n_words = lengths.numel(), batch.first.numel()
        longest = int(lengths.max())
        device = lengths.device
        vectors = self.words(hidden, batch)
        dependents = vectors[n_sentences:]
        # words of all sentences lie one after the other behind the roots; places without one show the sentence's root
        offset = n_sentences + lengths.cumsum(0) - lengths - 1
        place = torch.arange(longest + 1, device=device)
        sentence = torch.arange(n_sentences, device=device).unsqueeze(1)
        is_head = place <= lengths.unsqueeze(1)
        index = torch.where(is_head & (place > 0), offset.unsqueeze(1) + place, sentence)
        inside = is_head[:, 1:]
        weighted = _with_one(self.arc_dependent(dependents)) @ self.arc_weight
        rows = torch.where(inside, index[:, 1:] - n_sentences, 0)
        arcs = (weighted[rows] @ self.arc_head(vectors)[index].transpose(1, 2)).float()
        itself = place[1:].unsqueeze(1) == place
        arcs = arcs.masked_fill(itself | ~is_head.unsqueeze(1), -torch.inf)
        return WordStates(
            arcs=arcs,
            label_dependent=self.label_dependent(dependents),
            label_head=self.label_head(vectors),
            inside=inside,
            offset=offset,
            sentence=torch.repeat_interleave(sentence.squeeze(1), lengths, output_size=n_words),
        )

    def label_scores(self, states: WordStates, heads: Tensor) -> Tensor:
        """Scores of every relation of each word to the head given, float32 (N, labels). heads: int64 (N,)."""
        index = torch.where(heads > 0, states.offset[states.sentence] + heads, states.sentence)
        dependent, head = _with_one(states.label_dependent), _with_one(states.label_head[index])
        n_labels, size, _ = self.label_weight.shape
        weighted = (dependent @ self.label_weight.transpose(0, 1).reshape(size, n_labels * size)).view(
            -1, n_labels, size
        )
        return (weighted @ head.unsqueeze(2)).squeeze(2).float()

    def loss(self, states: WordStates, heads: Tensor, labels: Tensor, doubt: HeadDoubt | None = None) -> Tensor:
        """Mean cross-entropy of the heads plus that of the labels at these heads, over all words with a head.

        heads, labels: int64 (N,); heads counted from 1, 0 is the root. Both are -1 for a word whose head is not known,
        which is left out; a scalar that is no number where none is known. doubt: of heads that may be wrong. A word's
        label then has as weight in the mean what share its head has in the sum that `HeadDoubt` tells of, as it says
        nothing of another head.
        """
        scores = self.label_scores(states, heads.clamp(min=0))
        if doubt is None:
            arcs = F.cross_entropy(states.arcs[states.inside], heads, ignore_index=UNKNOWN)
            return arcs + F.cross_entropy(scores, labels, ignore_index=UNKNOWN)
        known = heads != UNKNOWN
        log_heads = torch.log_softmax(states.arcs[states.inside][known], 1)
        log_allowed = torch.logsumexp(log_heads + _weights(states, heads, known, doubt).log(), 1)
        belief = (log_heads.gather(1, heads[known].unsqueeze(1)).squeeze(1) - log_allowed).detach().exp()
        label_losses = F.cross_entropy(scores[known], labels[known], reduction="none")
        return (belief * label_losses).sum() / belief.sum() - log_allowed.mean()

    def labels(self, states: WordStates, heads: Tensor) -> Tensor:
        """The best relation of each word to the head given, int64 (N,), among those such a head may have."""
        allowed = torch.where((heads == 0).unsqueeze(1), self.root_label, self.other_label)
        return self.label_scores(states, heads).masked_fill(~allowed, -torch.inf).argmax(1)


def _weights(states: WordStates, heads: Tensor, known: Tensor, doubt: HeadDoubt) -> Tensor:
    """Of every head, for every word that has one: float (words with a head, W + 1).

    known: bool (N,), which words have one.
    """
    headless = torch.zeros_like(states.arcs[:, 0], dtype=torch.bool)
    headless[:, 1:][states.inside] = ~known
    word = states.inside.nonzero()[known, 1:] + 1
    given = heads[known].unsqueeze(1)
    place = torch.arange(headless.shape[1], device=heads.device)
    beside = ((place - word).abs() == 1) | ((place - given).abs() == 1) & (given > 0)
    weights = torch.where(beside & headless[states.sentence[known]], doubt.beside, doubt.other)
    return weights.scatter(1, given, 1.0)
