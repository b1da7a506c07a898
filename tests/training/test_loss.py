"""Cross-entropy in parts, against torch's of the whole and against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from lingraft.training import loss
from lingraft.training.loss import cross_entropy


def case(dtype: torch.dtype, vocabulary: int = 37) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (3, 5, vocabulary), labels, and a weight for each of the losses."""
    random = torch.Generator().manual_seed(4)
    logits = 5 * torch.randn(3, 5, vocabulary, generator=random, dtype=torch.float64)
    logits[0, 0] *= 100  # a softmax of ones and zeros
    labels = torch.randint(0, vocabulary, (3, 5), generator=random)
    weights = torch.rand(3, 5, generator=random, dtype=torch.float64)
    return logits.to(dtype).requires_grad_(True), labels, weights


@pytest.mark.parametrize("entries", [1, 2 * 37, 1 << 20])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 4e-3)])
def test_it_is_the_cross_entropy_of_the_whole_with_its_gradient(monkeypatch, entries, dtype, close):
    monkeypatch.setitem(loss._PART, "cpu", entries)
    logits, labels, weights = case(dtype)
    wide = logits.double() if dtype == torch.float64 else logits.float()
    expected = F.cross_entropy(wide.flatten(0, 1), labels.flatten(), reduction="none").view(3, 5)
    found = cross_entropy(logits, labels)
    assert found.dtype == wide.dtype
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5 if dtype != torch.float64 else 1e-12)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), logits)
    (gradient,) = torch.autograd.grad((found * weights).sum(), logits)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, wanted, rtol=close, atol=close)
    with torch.no_grad():
        torch.testing.assert_close(cross_entropy(logits, labels), found.detach(), rtol=1e-6, atol=1e-5)


def test_fp16_keeps_what_the_loss_scale_makes_large_enough():
    random = torch.Generator().manual_seed(5)
    logits = (3 * torch.randn(1, 4, 20_000, generator=random)).half().requires_grad_(True)
    labels = torch.tensor([[1, 2, 3, 4]])
    exact = torch.autograd.grad(65_536 * F.cross_entropy(logits.double()[0], labels[0], reduction="sum"), logits)[0]
    (found,) = torch.autograd.grad(65_536 * cross_entropy(logits, labels).sum(), logits)
    assert found.dtype == torch.float16
    assert float((found == 0).float().mean()) < 0.01
    torch.testing.assert_close(found, exact.half(), rtol=4e-3, atol=1e-6)


def test_its_gradient_by_finite_differences():
    logits, labels, weights = case(torch.float64, vocabulary=7)
    small = (logits.detach()[1:] / 5).requires_grad_(True)

    def total(given: torch.Tensor) -> torch.Tensor:
        return (cross_entropy(given, labels[1:]) * weights[1:]).sum()

    (gradient,) = torch.autograd.grad(total(small), small)
    step = 1e-5
    for place in range(small.numel()):
        apart = torch.zeros(small.numel(), dtype=torch.float64).index_fill_(0, torch.tensor(place), step)
        higher, lower = (float(total((small + sign * apart.view_as(small)).detach())) for sign in (1, -1))
        assert float(gradient.flatten()[place]) == pytest.approx((higher - lower) / (2 * step), abs=1e-8)


def test_by_definition():
    logits = torch.tensor([[[0.0, math.log(3.0)]]], requires_grad=True)
    found = cross_entropy(logits, torch.tensor([[0]]))
    assert float(found.detach()) == pytest.approx(math.log(4.0))
    found.backward()
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == pytest.approx([-0.75, 0.75])


def test_its_gradient_is_taken_once():
    logits, labels, _ = case(torch.float32)
    found = cross_entropy(logits, labels).sum()
    found.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="it can be taken once"):
        found.backward()


def test_what_is_no_number_is_seen():
    logits, labels, _ = case(torch.float32)
    with torch.no_grad():
        logits[1, 2, 3] = torch.nan
    assert not math.isfinite(float(cross_entropy(logits, labels).sum().detach()))
