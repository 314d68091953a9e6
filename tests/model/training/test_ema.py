"""The moving average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.training.ema import EMA


def test_average_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0.0)
    ema = EMA(layer, decay=0.9)
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, 3.0], start=1):
        with torch.no_grad():
            layer.weight.fill_(value)
        ema.update(layer)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert ema.values["weight"].item() == pytest.approx(expected)
    assert layer.weight.item() == 3.0, "the network itself goes on as it is"


def test_it_settles_on_weights_that_stay() -> None:
    norm = nn.BatchNorm1d(2)
    ema = EMA(norm, decay=0.5)
    norm(torch.randn(8, 2) * 5 + 3)
    for _ in range(40):
        ema.update(norm)
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(ema.values[name], value)


def test_decay_zero_is_the_last_step() -> None:
    layer = nn.Linear(2, 2)
    ema = EMA(layer, decay=0.0)
    with torch.no_grad():
        layer.weight.add_(1)
    ema.update(layer)
    torch.testing.assert_close(ema.values["weight"], layer.weight.detach())
