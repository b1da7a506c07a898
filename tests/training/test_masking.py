from __future__ import annotations

import pytest
import torch

from lingraft.training.masking import Masked, MaskScheme, generator_for, mask_tokens

CPU = torch.device("cpu")
MASK = 3


def vocabulary(n: int = 50, special: int = 5) -> torch.Tensor:
    return torch.arange(n) < special


def masked(ids: torch.Tensor, key: int = 2, scheme: MaskScheme = "80-10-10") -> Masked:
    return mask_tokens(ids, vocabulary(), MASK, 0.15, generator_for(CPU, 1, key), scheme)


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, 50, (60, 64), generator=generator_for(CPU, 7))


@pytest.mark.parametrize(("scheme", "share"), [("80-10-10", 0.8), ("90-10", 0.9)])
def test_the_same_number_of_ordinary_tokens_is_hidden_in_every_row(ids: torch.Tensor, scheme: MaskScheme, share: float):
    batch = masked(ids, scheme=scheme)
    assert batch.positions.shape == (60, round(0.15 * 64))
    ordinary = (~vocabulary()[ids]).sum(1)
    assert batch.weights.sum(1).tolist() == [round(0.15 * int(n)) for n in ordinary]
    predicted = batch.weights == 1
    assert (batch.positions.diff(dim=1) > 0).all()
    assert torch.equal(ids.gather(1, batch.positions), batch.labels)
    assert not vocabulary()[batch.labels[predicted]].any()
    restored = batch.ids.scatter(1, batch.positions, batch.labels)
    assert torch.equal(restored, ids)
    now, labels = batch.ids.gather(1, batch.positions)[predicted], batch.labels[predicted]
    assert torch.equal(batch.ids.gather(1, batch.positions)[~predicted], batch.labels[~predicted])
    assert abs((now == MASK).float().mean() - share) < 0.06
    assert not vocabulary()[now[now != MASK]].any()
    kept = (now == labels).float().mean()
    assert abs(kept - 0.1) < 0.05
    if scheme == "90-10":
        assert ((now == MASK) | (now == labels)).all()


def test_random_tokens_are_all_the_ordinary_ones():
    ids = torch.full((400, 200), 10)
    batch = masked(ids)
    now = batch.ids.gather(1, batch.positions).unique().tolist()
    assert now == [MASK, *range(5, 50)]


def test_special_tokens_are_neither_changed_nor_counted():
    ids = torch.full((3, 40), 1)
    ids[1, 7] = 20
    ids[2, :30] = 21
    batch = masked(ids)
    assert batch.weights.sum(1).tolist() == [0, 1, 4]
    assert torch.equal(batch.ids[0], ids[0])
    assert batch.positions[1][batch.weights[1] == 1].tolist() == [7]
    assert torch.equal(batch.ids[2, 30:], ids[2, 30:])


def test_the_masks_depend_on_the_key_alone(ids: torch.Tensor):
    one, same, other = masked(ids), masked(ids), masked(ids, key=3)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.positions, other.positions)


def test_rows_are_cut_from_the_whole(ids: torch.Tensor):
    batch = masked(ids)
    assert torch.equal(torch.cat([batch.rows(0, 20).ids, batch.rows(20, 60).ids]), batch.ids)
