"""The biaffine layers compute what their equations say, word by word, whatever the batch."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from trees import random_sentences

import tiny
from lingraft.errors import RecipeError
from lingraft.surgery import from_transformers
from lingraft.tasks.parsing import Parser, ParserSettings, build_parser
from lingraft.tasks.subwords import WordBatch

SENTENCES = random_sentences(7, seed=2, longest=12)
LABELS = sorted({deprel for sentence in SENTENCES for deprel in sentence.deprels})
CHOICES = [
    {"pooling": pooling, "layers": layers, "root": root}
    for pooling, layers, root in itertools.product(["first", "mean"], ["last", "mix"], ["cls", "vector"])
]


def make(max_length: int = 64, **settings) -> Parser:
    """A parser whose weights are all different from zero."""
    tokenizer = tiny.wordpiece_tokenizer()
    model = from_transformers(tiny.bert(tokenizer), tokenizer)
    parser = build_parser(model, SENTENCES, ParserSettings(arc_size=20, label_size=10, **settings))
    parser.max_length = max_length
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in parser.head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return parser


def batch_of(parser: Parser, forms: list[tuple[str, ...]]) -> WordBatch:
    return parser.subwords.batch(parser.subwords.encode(forms))


def perceptron(module: torch.nn.Sequential, vector: Tensor) -> Tensor:
    return F.leaky_relu(module[0].weight @ vector + module[0].bias, 0.1)


def one(vector: Tensor) -> Tensor:
    return torch.cat([vector, torch.ones(1)])


def word_by_word(parser: Parser, forms: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Arc scores (words, words + 1) and label scores (words, words + 1, labels) of one sentence."""
    tokenizer, head, settings = parser.tokenizer, parser.head, parser.settings
    pieces = [tokenizer(word, add_special_tokens=False).input_ids for word in forms]
    ids = [tokenizer.cls_token_id, *itertools.chain(*pieces), tokenizer.sep_token_id]
    layers = parser.encoder(torch.tensor([ids]), output_hidden_states=True).hidden_states[1:]
    hidden = layers[-1][0]
    if settings.layers == "mix":
        shares = torch.softmax(head.mix.weights, 0)
        hidden = head.mix.factor * sum(share * layer[0] for share, layer in zip(shares, layers, strict=True))
    vectors = [head.root if settings.root == "vector" else hidden[0]]
    place = 1
    for piece in pieces:
        states = hidden[place : place + len(piece)]
        vectors.append(states[0] if settings.pooling == "first" else states.mean(0))
        place += len(piece)
    n = len(forms)
    arcs = torch.full((n, n + 1), -torch.inf)
    labels = torch.zeros(n, n + 1, len(parser.labels))
    for d, h in itertools.product(range(1, n + 1), range(n + 1)):
        if d != h:
            dependent, governor = vectors[d], vectors[h]
            arcs[d - 1, h] = (
                one(perceptron(head.arc_dependent, dependent)) @ head.arc_weight @ perceptron(head.arc_head, governor)
            )
        for k in range(len(parser.labels)):
            labels[d - 1, h, k] = (
                one(perceptron(head.label_dependent, vectors[d]))
                @ head.label_weight[k]
                @ one(perceptron(head.label_head, vectors[h]))
            )
    return arcs, labels


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(choice.values()))
@torch.no_grad()
def test_scores_and_loss_are_those_of_the_equations(choice):
    parser = make(**choice).double()  # in single precision the comparison is one of roundings
    if parser.head.mix is not None:
        parser.head.mix.weights.copy_(torch.tensor([0.3, -0.5]))
    states = parser(batch_of(parser, [sentence.forms for sentence in SENTENCES]))
    expected = [word_by_word(parser, sentence.forms) for sentence in SENTENCES]
    heads = torch.tensor([head for sentence in SENTENCES for head in sentence.heads])
    labels = torch.tensor([LABELS.index(deprel) for sentence in SENTENCES for deprel in sentence.deprels])
    scores = parser.head.label_scores(states, heads)
    arc_losses, label_losses, word = [], [], 0
    for b, (sentence, (arcs, label_scores)) in enumerate(zip(SENTENCES, expected, strict=True)):
        n = len(sentence)
        torch.testing.assert_close(states.arcs[b, :n, : n + 1], arcs, atol=1e-9, rtol=1e-9)
        assert torch.isneginf(states.arcs[b, :n, n + 1 :]).all()
        assert states.inside[b].tolist() == [k < n for k in range(states.inside.shape[1])]
        for d in range(n):
            torch.testing.assert_close(scores[word], label_scores[d, heads[word]], atol=1e-9, rtol=1e-9)
            arc_losses.append(-torch.log_softmax(arcs[d], 0)[heads[word]])
            label_losses.append(-torch.log_softmax(label_scores[d, heads[word]], 0)[labels[word]])
            word += 1
    loss = torch.stack(arc_losses).mean() + torch.stack(label_losses).mean()
    torch.testing.assert_close(parser.head.loss(states, heads, labels), loss, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("max_length", [64, 9])
@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(choice.values()))
@torch.no_grad()
def test_padding_changes_no_score(choice, max_length):
    parser = make(max_length, **choice)
    together = parser(batch_of(parser, [sentence.forms for sentence in SENTENCES]))
    heads = torch.tensor([head for sentence in SENTENCES for head in sentence.heads])
    scores = parser.head.label_scores(together, heads).split([len(sentence) for sentence in SENTENCES])
    for b, sentence in enumerate(SENTENCES):
        n = len(sentence)
        alone = parser(batch_of(parser, [sentence.forms]))
        torch.testing.assert_close(together.arcs[b, :n, : n + 1], alone.arcs[0], atol=1e-5, rtol=1e-5)
        labels = parser.head.label_scores(alone, torch.tensor(sentence.heads))
        torch.testing.assert_close(scores[b], labels, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_long_sentence_is_read_in_windows_that_know_their_neighbours():
    """Words behind the first window have vectors of their own, close to those of the same words read at once."""
    forms = tuple(tiny.words()[:20])
    at_once, in_windows = make(64), make(16)
    in_windows.load_state_dict(at_once.state_dict())
    batch = batch_of(in_windows, [forms])
    assert batch.input_ids.shape[0] > 1
    arcs = in_windows(batch).arcs[0]
    assert arcs.shape == (20, 21)
    assert torch.isfinite(arcs).sum() == 20 * 20
    assert len({round(score, 6) for score in arcs[:, 0].tolist()}) == 20


@torch.no_grad()
def test_labels_of_the_root_and_of_others_are_kept_apart():
    parser = make()
    states = parser(batch_of(parser, [sentence.forms for sentence in SENTENCES]))
    root = LABELS.index("root")
    for bias in (-100.0, 100.0):
        parser.head.label_weight[root, -1, -1] = bias  # the score of "root", whatever the words
        heads = torch.tensor([head for sentence in SENTENCES for head in sentence.heads])
        assert ((parser.head.labels(states, heads) == root) == (heads == 0)).all()


def test_no_gradient_is_lost():
    parser = make(layers="mix").train()
    words = batch_of(parser, [sentence.forms for sentence in SENTENCES])
    heads = torch.tensor([head for sentence in SENTENCES for head in sentence.heads])
    parser.loss(words, heads, torch.zeros_like(heads)).backward()
    for name, parameter in parser.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    "wrong",
    [
        {"pooling": "last"}, {"layers": "all"}, {"root": "first"}, {"arc_size": 0}, {"label_size": 1.5},
        {"dropout": 1}, {"dropout": -0.1}, {"arc_size": True},
    ],
)  # fmt: skip
def test_settings_that_are_impossible_are_refused(wrong):
    with pytest.raises(RecipeError, match=f"'{next(iter(wrong))}'"):
        ParserSettings(**wrong)
