"""Kernels for training on a CPU, in the place of PyTorch's where those are slow: dropout, attention, normalisation.

PyTorch draws dropout masks one number a value on one thread, from a generator that all threads share; its fused
attention has a backward pass for bf16 that is several times slower than products of matrices; and its batch
normalisation does not know of the other replicas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from model.training.batch_norm import synchronised_batch_norm
from model.training.exchange import Party

# Attention over more tokens goes to the fused kernel, whose memory does not grow with their square.
_MOST_TOKENS = 512
_LANES = 1 << 16


class TrainingKernels(TorchFunctionMode):
    """While this context is entered, the thread's forward pass uses the kernels of this module.

    `seed` fixes the dropout masks; `party` shares batch statistics with the other replicas where there are any.
    """

    def __init__(self, seed: Sequence[int], party: Party | None = None) -> None:
        super().__init__()
        self._generator = np.random.Generator(np.random.SFC64(list(seed)))
        self._party = party

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one function of torch, or what stands in its place."""
        kwargs = kwargs or {}
        if func is functional.dropout:
            return self._dropout(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func is functional.batch_norm and self._party is not None:
            return self._batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return x
        return x * self._mask(x.shape, p, x.dtype)

    def _mask(self, shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
        """Zero with probability p, to 1 in 65,536, else 1 / (1 - p)."""
        count = math.prod(shape)
        words = self._generator.integers(0, 1 << 64, size=(count + 3) // 4, dtype=np.uint64)
        lanes = torch.from_numpy(words.view(np.int16))[:count].view(shape)
        kept = lanes >= round(p * _LANES) - _LANES // 2
        return kept.to(dtype).mul_(1 / (1 - p))

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if is_causal or enable_gqa or key.shape[-2] > _MOST_TOKENS:
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        scores = (query @ key.transpose(-2, -1)).float() * scale
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            # Not −∞: a row that may attend to nothing is then uniform, not NaN.
            scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
        elif attn_mask is not None:
            scores = scores + attn_mask
        weights = torch.softmax(scores, dim=-1).to(value.dtype)
        if dropout_p > 0:
            weights = weights * self._mask(weights.shape, dropout_p, weights.dtype)
        return weights @ value

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training or weight is None or bias is None or self._party is None:
            return functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
        return synchronised_batch_norm(x, weight, bias, running_mean, running_var, momentum, eps, self._party)
