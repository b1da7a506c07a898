"""The models of ``training.py``: their shapes, and the useful floating-point operations of a trained token."""

from __future__ import annotations

from dataclasses import dataclass

#: tokens of a sequence, and the share of them that is predicted
LENGTH = 256
MASKED = 0.15

#: tokens of each vocabulary
VOCABULARY = 30_522


@dataclass(frozen=True)
class Shape:
    """A BERT. batch_size: sequences a language and step on a CUDA card, where nothing else is asked for."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    batch_size: int

    def __str__(self) -> str:
        return f"{self.layers} x {self.width}"


SHAPES = {
    "small": Shape(6, 384, 12, 1536, 72),
    "base": Shape(12, 768, 12, 3072, 72),
    "large": Shape(24, 1024, 16, 4096, 32),
}


def useful_flop(shape: Shape, vocabulary: int = VOCABULARY, length: int = LENGTH, masked: float = MASKED) -> float:
    """Floating-point operations that forward and backward need for one token; a multiply-add counts as two.

    A weight takes part in one multiply-add forward and in two backward (gradient of its input, gradient of itself):
    6 operations. With L layers, width d, feed-forward width f, length S, V tokens and a share m of masked positions:

        encoder matrices    6 L (4 d^2 + 2 d f)
        attention           12 L S d              scores and weighted sum, 2 S d each forward, twice that backward
        head                6 m (d^2 + d V)       dense layer and output embeddings, at the masked positions alone

    Not counted: embedding look-up, biases, norms, activations, softmax, dropout, the optimizer, logits of positions
    that are not predicted. Counted in full: the last layer, also for a method that works it out at the masked positions
    only. So every method is measured by the same work, and what a method does beyond it, or saves, shows in its share.
    """
    encoder = shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.feed_forward)
    head = masked * (shape.width**2 + shape.width * vocabulary)
    return 6 * (encoder + head) + 12 * shape.layers * length * shape.width


# the published figures, for vocabularies of 32,000 tokens
assert round(useful_flop(SHAPES["base"], 32_000) / 1e5) == 5_606
assert round(useful_flop(SHAPES["large"], 32_000) / 1e5) == 19_179
