"""Batch normalisation by the statistics of a whole batch of which each replica holds a part."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from model.training.exchange import Party


def synchronised_batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
    party: Party,
) -> Tensor:
    """Normalise x [B, C, …] by mean and variance over the rows of all replicas; all must call it in the same order.

    The first replica's running statistics move by `momentum`, as they would with the whole batch; the others' stay.
    """
    output = _Normalise.apply(x, weight, bias, running_mean, running_var, momentum, eps, party)  # type: ignore[no-untyped-call]
    return cast(Tensor, output)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
        party: Party,
    ) -> Tensor:
        own = x.numel() // x.shape[1]
        # Running statistics that do not move: the result is of their type, not of x's.
        still = torch.zeros_like(weight)
        own_mean, own_var = torch.batch_norm_update_stats(x, still, still, 0.0)
        parts = party.meet((own, own_mean, own_var))
        count = sum(n for n, _, _ in parts)
        mean = torch.stack([m * (n / count) for n, m, _ in parts]).sum(0)
        var = torch.stack([(v + (m - mean).square()) * (n / count) for n, m, v in parts]).sum(0)
        if party.rank == 0 and running_mean is not None and running_var is not None:
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * (count / max(count - 1, 1)), momentum)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.count, ctx.party = eps, count, party
        return _affine(x, weight, bias, mean, var, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        (gradient,) = gradients
        # With given statistics this kernel sums dy·x̂ and dy over the rows, which is what the replicas exchange.
        _, weight_gradient, bias_gradient = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, var, None, None, False, ctx.eps, [False, True, True]
        )
        parts = ctx.party.meet((weight_gradient, bias_gradient))
        weight_mean = torch.stack([w for w, _ in parts]).sum(0) / ctx.count
        bias_mean = torch.stack([b for _, b in parts]).sum(0) / ctx.count
        # dx = s·w·(dy − mean(dy) − x̂·mean(dy·x̂)) with x̂ = s·(x − mean), as one affine map of dy and one of x.
        scale = torch.rsqrt(var + ctx.eps)
        outer = weight * scale
        inner = -outer * scale * weight_mean
        constant = -outer * bias_mean - inner * mean
        zero, one = torch.zeros_like(mean), torch.ones_like(mean)
        result = _affine(gradient, outer, constant, zero, one, 0.0)
        result += _affine(x, inner, zero, zero, one, 0.0)
        return result, weight_gradient, bias_gradient, None, None, None, None, None


def _affine(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """Compute weight · (x − mean) / √(var + eps) + bias in one pass, in fp32, rounded to the type of x."""
    output: Tensor = torch.native_batch_norm(x, weight, bias, mean, var, False, 0.0, eps)[0]
    return output
