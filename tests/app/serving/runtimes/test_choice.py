"""Which runtime serves: by what was asked for, what is installed, what the bundle has, and the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.serving.runtime import Later, RuntimeUnavailable
from app.serving.runtimes import choice
from app.serving.runtimes.choice import choose_runtime
from model.bundle import Bundle, load_bundle
from model.outputs import Outputs
from model.preprocess import Item


@pytest.fixture(scope="module")
def graphless(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture
def graphed(graphless: Bundle) -> Bundle:
    return dataclasses.replace(graphless, graph=graphless.path / "graph.onnx")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says which libraries are installed, and notes what was made instead of making it."""
    made: dict[str, Any] = {}

    def maker(name: str) -> Any:
        def make(bundle: Bundle, **options: Any) -> Any:
            made.update(options, name=name)
            return SimpleNamespace(name=name, precision="fp32")

        return make

    def installed(*names: str) -> dict[str, Any]:
        monkeypatch.setattr(choice, "_installed", lambda name: name in names)
        return made

    monkeypatch.setattr(choice, "_maker", maker)
    return installed


@pytest.mark.parametrize(
    ("installed", "graph", "taken"),
    [
        (("openvino", "onnxruntime", "torch"), True, "openvino"),
        (("onnxruntime", "torch"), True, "onnxruntime"),
        (("openvino",), True, "openvino"),
        (("torch",), True, "torch"),
        (("openvino", "onnxruntime", "torch"), False, "torch"),
    ],
)
def test_auto_takes_the_fastest_that_can_read_the_bundle(
    world: Any, graphed: Bundle, graphless: Bundle, installed: tuple[str, ...], graph: bool, taken: str
) -> None:
    made = world(*installed)
    choose_runtime(graphed if graph else graphless, device="cpu", precision="fp32", threads=3)
    assert made == {"name": taken, "precision": "fp32", "threads": 3}


def test_threads_are_the_usable_cores_unless_told(world: Any, graphed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world("openvino")
    monkeypatch.setattr(choice, "usable_cores", lambda: 7)
    choose_runtime(graphed, device="cpu")
    assert made["threads"] == 7


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch"])
def test_a_named_one_is_taken(world: Any, graphed: Bundle, name: str) -> None:
    made = world("openvino", "onnxruntime", "torch")
    choose_runtime(graphed, runtime=name, device="cpu")
    assert made["name"] == name


@pytest.mark.parametrize(
    ("installed", "graph", "runtime", "says"),
    [
        (("openvino",), False, "auto", r"has no graph\.onnx.*trunkline export .* --format graph.*'trunkline\[torch\]'"),
        ((), True, "auto", "pip install openvino"),
        (("torch",), True, "openvino", "openvino is not installed: pip install openvino"),
        (("openvino",), True, "torch", r"pip install 'trunkline\[torch\]'"),
        (("openvino",), True, "onnxruntime", r"pip install 'trunkline\[onnxruntime\]'"),
        (("openvino",), False, "openvino", r"has no graph\.onnx for openvino to read; write one by trunkline export"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(
    world: Any, graphed: Bundle, graphless: Bundle, installed: tuple[str, ...], graph: bool, runtime: str, says: str
) -> None:
    world(*installed)
    with pytest.raises(RuntimeUnavailable, match=says):
        choose_runtime(graphed if graph else graphless, runtime=runtime, device="cpu")


class Imprecise:
    """Answers golden cases as recorded, but for an error of its own."""

    def __init__(self, bundle: Bundle, *, precision: str, threads: int, error: float) -> None:
        self.precision = "bf16" if precision == "auto" else precision
        self._bundle, self._error = bundle, error

    def start(self, items: Sequence[Item], tasks: Sequence[str] | None = None) -> Later:
        answers = {
            task: np.array([case.answers[task] for case in self._bundle.golden], np.float32) + self._error
            for task in self._bundle.config.tasks
        }
        return Later(lambda: Outputs(answers, np.ones((len(items), 2), np.float32)))


@pytest.mark.parametrize(
    ("asked", "error", "taken"), [("auto", 0.01, "bf16"), ("auto", 0.06, "fp32"), ("bf16", 0.06, "bf16")]
)
def test_auto_is_fp32_where_golden_cases_do_not_bear_less(
    graphed: Bundle, monkeypatch: pytest.MonkeyPatch, asked: str, error: float, taken: str
) -> None:
    monkeypatch.setattr(choice, "_maker", lambda name: partial(Imprecise, error=error))
    runtime = choose_runtime(graphed, runtime="openvino", device="cpu", precision=asked)
    assert runtime.precision == taken


def test_cuda_needs_torch(world: Any, graphed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    world("openvino")
    with pytest.raises(RuntimeUnavailable, match=r"cuda needs torch: pip install 'trunkline\[torch\]'"):
        choose_runtime(graphed, device="cuda")
    with pytest.raises(RuntimeUnavailable, match="cuda needs runtime torch or auto, not openvino"):
        choose_runtime(graphed, device="cuda", runtime="openvino")


def test_cuda_without_a_device_is_an_error_and_auto_goes_on(
    world: Any, graphed: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world("openvino", "torch")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeUnavailable, match="torch finds no CUDA device; use auto or cpu"):
        choose_runtime(graphed, device="cuda")
    # A driver without a device behind it.
    monkeypatch.setattr(choice, "gpu_expected", lambda device: True)
    choose_runtime(graphed, device="auto")
    assert made["name"] == "openvino"
