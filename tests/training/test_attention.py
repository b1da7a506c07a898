"""Documents packed into one row against the same documents each in a row of its own, on every kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_encoder import CAUSAL, MASKED, make

from lingraft.errors import RecipeError
from lingraft.training.attention import Kernel, choose_kernel, documents_of, first_position, use_kernel
from lingraft.training.encoder import embed_tokens, hidden_states

CPU = torch.device("cpu")
SEPARATOR = 3
APART = ["bert", "roberta", "xlm-roberta", "electra", "distilbert", "albert", "gpt2", "llama"]


def tolerance(family: str) -> dict[str, float]:
    """These take their softmax or norms in single precision whatever the model is in."""
    return dict.fromkeys(("rtol", "atol"), 1e-5 if family in ("llama", "gemma2", "modernbert") else 1e-10)


def packed() -> torch.Tensor:
    """Two rows: documents of 4, 1, 5 and 2 tokens, and one document that has no end in its row."""
    ids = torch.arange(10, 34).reshape(2, 12)
    ids[0, [3, 4, 9, 11]] = SEPARATOR
    return ids


@given(st.lists(st.lists(st.integers(0, 5), min_size=6, max_size=6), min_size=1, max_size=4))
def test_documents_end_with_their_separator(rows: list[list[int]]):
    found = documents_of(np.array(rows) == SEPARATOR, CPU)
    bounds = [0]
    for row, line in enumerate(rows):
        number = position = 0
        for place, token in enumerate(line):
            assert (int(found.number[row, place]), int(found.position[row, place])) == (number, position)
            ends = token == SEPARATOR or place == 5
            number, position = (number + 1, 0) if ends else (number, position + 1)
            bounds += [6 * row + place + 1] * ends
    assert found.bounds.tolist() == bounds
    assert found.longest == max(np.diff(bounds))


@pytest.mark.parametrize("family", APART)
@pytest.mark.parametrize("kernel", ["eager", "sdpa", "varlen"])
def test_packed_is_separate(family: str, kernel: Kernel):
    model = make(family)
    ids = packed()
    alone = []
    for row in ids:
        ends = [*(np.flatnonzero(row == SEPARATOR) + 1), 12]
        pieces = [row[start:stop] for start, stop in zip([0, *ends], ends, strict=False) if stop > start]
        alone += [model.base_model(input_ids=piece[None]).last_hidden_state[0] for piece in pieces]
    wanted = torch.cat(alone).reshape(2, 12, -1)
    use_kernel(model, kernel)
    documents = documents_of(ids.numpy() == SEPARATOR, CPU)
    found = hidden_states(model, embed_tokens(model, ids), documents=documents)
    torch.testing.assert_close(found, wanted, **tolerance(family))
    joined = hidden_states(model, embed_tokens(model, ids))
    assert not torch.allclose(joined[0, 6], wanted[0, 6])
    positions = torch.tensor([[1, 4, 7, 11], [0, 2, 3, 9]])
    some = hidden_states(model, embed_tokens(model, ids), positions, documents=documents)
    torch.testing.assert_close(some, wanted.gather(1, positions[..., None].expand(-1, -1, 16)), **tolerance(family))


@pytest.mark.parametrize("family", [*MASKED, *CAUSAL])
@pytest.mark.parametrize("kernel", ["eager", "sdpa", "varlen"])
def test_without_documents_every_kernel_gives_the_same(family: str, kernel: Kernel):
    if kernel == "varlen" and family not in APART:
        pytest.skip("never chosen for this family")
    model = make(family)
    ids = packed()
    wanted = model.base_model(input_ids=ids).last_hidden_state
    use_kernel(model, kernel)
    torch.testing.assert_close(hidden_states(model, embed_tokens(model, ids)), wanted, **tolerance(family))


def test_positions_of_roberta_count_on_from_the_padding_id():
    assert [first_position(make(family)) for family in ("bert", "roberta", "xlm-roberta", "gpt2")] == [0, 2, 2, 0]


def test_the_kernel_fits_the_device():
    assert choose_kernel(make("bert"), CPU, "bf16", False) == "eager"
    with pytest.raises(RecipeError, match="sliding"):
        choose_kernel(make("modernbert"), CPU, "bf16", True)
