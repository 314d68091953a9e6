"""Runtimes run what the predictor runs, where they were told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from app.serving.runtime import Later, RuntimeUnavailable, blank_item, item_length, run, warm_up
from app.serving.runtimes.torch import TorchRuntime, choose_device
from model.bundle import load_bundle
from model.config import Config
from model.outputs import Outputs
from tests.app.serving.bench import picture
from tests.support.tiny import tiny_config


def test_auto_takes_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose_device(device) for device in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [choose_device(device) for device in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(RuntimeUnavailable, match="use auto or cpu"):
        choose_device("cuda")


def test_threads_are_set_as_told(tiny_bundle: Path) -> None:
    before = torch.get_num_threads()
    try:
        TorchRuntime(load_bundle(tiny_bundle), "cpu", threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device"))])  # fmt: skip
def test_only_the_heads_asked_for_are_answered(tiny_bundle: Path, device: str) -> None:
    runtime = TorchRuntime(load_bundle(tiny_bundle), device, threads=1)
    assert runtime.device == device
    items = [{"image": picture(seed)} for seed in range(3)]
    everything, year = run(runtime, items), run(runtime, items, ["year"])
    assert list(year.probabilities) == ["year"]
    np.testing.assert_allclose(year.probabilities["year"], everything.probabilities["year"], atol=1e-6)


def test_warm_up_runs_each_size_once_with_everything_present() -> None:
    config = tiny_config()
    seen = []

    class Recorder:
        name, device, precision, in_flight = "recorder", "cpu", "fp32", 1

        def start(self, items, tasks=None):  # type: ignore[no-untyped-def]
            seen.append((len(items), tasks))
            for item in items:
                assert {name: value.shape for name, value in item.items()} == {"image": (16, 12, 3), "text": (12,)}
            return Later(lambda: Outputs({}, np.ones((len(items), 2), np.float32)))

    warm_up(Recorder(), config, (1, 4, 2, 4))
    assert seen == [(4, None), (2, None), (1, None)]


def test_length_is_that_of_the_longest_text() -> None:
    document = tiny_config().model_dump()
    document["modalities"]["more"] = {**document["modalities"]["text"], "max_tokens": 30}
    assert item_length(blank_item(Config.model_validate(document))) == 30
    assert item_length({"image": picture(0)}) == 0
