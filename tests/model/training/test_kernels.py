"""Kernels for training on a CPU: they compute what PyTorch's do."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from model.training.kernels import TrainingKernels


def dropped(seed: int, p: float = 0.1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    with TrainingKernels((seed,)):
        return functional.dropout(torch.ones(101, 997, dtype=dtype), p)


def test_dropout_hides_the_share_that_it_should_and_keeps_the_mean() -> None:
    values = dropped(0)
    assert float((values == 0).float().mean()) == pytest.approx(0.1, abs=0.005)
    torch.testing.assert_close(values[values != 0].unique(), torch.tensor([1 / 0.9]))
    # No row or column of the mask is like the whole less than another.
    assert float((values == 0).float().mean(0).std()) == pytest.approx((0.09 / 101) ** 0.5, rel=0.1)


def test_masks_follow_from_the_seed() -> None:
    assert torch.equal(dropped(1), dropped(1))
    assert not torch.equal(dropped(1), dropped(2))


def test_dropout_has_the_gradient_of_its_mask() -> None:
    x = torch.randn(50, 50, requires_grad=True)
    with TrainingKernels((0,)):
        y = functional.dropout(x, 0.5)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient * x.detach(), y.detach())


def test_without_training_nothing_is_dropped() -> None:
    x = torch.randn(8, 8)
    with TrainingKernels((0,)):
        assert functional.dropout(x, 0.5, training=False) is x


@pytest.mark.parametrize("kind", ["none", "bool", "float"])
@pytest.mark.parametrize("queries", [1, 7])
def test_attention_is_that_of_torch(kind: str, queries: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(3, 2, queries, 8, generator=generator)
    k, v = torch.randn(2, 3, 2, 7, 8, generator=generator)
    keep = torch.rand(3, 1, 1, 7, generator=generator) < 0.7
    keep[..., 0] = True
    mask = {"none": None, "bool": keep, "float": torch.where(keep, 0.0, -1e9)}[kind]
    results = []
    for own in (False, True):
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        if own:
            with TrainingKernels((0,)):
                y = functional.scaled_dot_product_attention(*inputs, attn_mask=mask)
        else:
            y = functional.scaled_dot_product_attention(*inputs, attn_mask=mask)
        results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_row_that_may_attend_to_nothing_is_finite() -> None:
    x = torch.randn(2, 1, 3, 4, requires_grad=True)
    with TrainingKernels((0,)):
        y = functional.scaled_dot_product_attention(x, x, x, attn_mask=torch.zeros(2, 1, 1, 3, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert bool(torch.isfinite(y).all() and torch.isfinite(gradient).all())


def test_causal_attention_stays_causal() -> None:
    x = torch.randn(1, 1, 4, 8)
    with TrainingKernels((0,)):
        y = functional.scaled_dot_product_attention(x, x, x, is_causal=True)
    torch.testing.assert_close(y[0, 0, 0], x[0, 0, 0])


def test_attention_weights_are_dropped() -> None:
    q = torch.zeros(64, 2, 3, 8)
    v = torch.ones(64, 2, 20, 8)
    with TrainingKernels((0,)):
        y = functional.scaled_dot_product_attention(q, torch.zeros_like(v), v, dropout_p=0.3)
    assert float(y.mean()) == pytest.approx(1, abs=0.02)
    assert float(y.std()) > 0.05
