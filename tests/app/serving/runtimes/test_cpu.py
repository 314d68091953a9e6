"""The runtimes for the CPU give one and the same answers, from the bundle that ships."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.serving.runtime import Runtime, RuntimeUnavailable, run
from app.serving.runtimes.graph import padded_answers, padded_lengths
from app.serving.runtimes.onnxruntime import OnnxRuntime
from app.serving.runtimes.openvino import OpenVinoRuntime
from app.serving.runtimes.quiet_openvino import openvino
from app.serving.runtimes.torch import TorchRuntime
from model.bundle import Bundle, BundleError, add_files, load_bundle
from model.calibration import patterns_of
from model.explanation import narrowed_to_coalitions
from model.export.bundle_graph import build_graph
from model.golden import TOLERANCES, check_golden
from model.outputs import Outputs
from model.predictor import Predictor
from model.preprocess import Item
from tests.model.export.bundles import CONFIGS, make_bundle
from tests.model.making import item_of

FASHION = Path(__file__).resolve().parents[4] / "weights" / "fashion"
NATIVE = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bf16 = pytest.mark.skipif(not NATIVE, reason="this processor has no instructions for bf16")

MAKERS: dict[str, Callable[[Bundle], Runtime]] = {
    "openvino fp32": partial(OpenVinoRuntime, precision="fp32"),
    "openvino bf16": partial(OpenVinoRuntime, precision="bf16"),
    "onnxruntime": OnnxRuntime,
    "torch fp32": TorchRuntime,
    "torch bf16": partial(TorchRuntime, precision="bf16"),
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(FASHION)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=needs_bf16) if name == "openvino bf16" else name for name in MAKERS],
)
def runtime(request: pytest.FixtureRequest, bundle: Bundle) -> Runtime:
    return MAKERS[request.param](bundle)


@pytest.fixture(scope="module")
def items(bundle: Bundle) -> list[Item]:
    """Each set of inputs, with texts of one token, of some, and of as many as there can be."""
    generator = np.random.default_rng(0)
    made: list[Item] = []
    for length in (1, 16, 17, 48):
        for pattern in patterns_of(bundle.config):
            item: dict[str, np.ndarray] = {}
            if "image" in pattern:
                item["image"] = generator.integers(0, 256, (80, 60, 3), dtype=np.uint8)
            if "text" in pattern:
                item["text"] = generator.integers(1, 6000, length)
            made.append(item)
    return made


@pytest.fixture(scope="module")
def expected(bundle: Bundle, items: list[Item]) -> Outputs:
    return Predictor(bundle)(items)


def assert_close(found: Outputs, expected: Outputs, tolerance: float, rows: slice = slice(None)) -> None:
    for task, values in expected.probabilities.items():
        np.testing.assert_allclose(found.probabilities[task], values[rows], atol=tolerance, rtol=0, err_msg=task)
    np.testing.assert_allclose(found.alpha, expected.alpha[rows], atol=tolerance)


def test_it_passes_the_golden_cases(bundle: Bundle, runtime: Runtime) -> None:
    check_golden(bundle, partial(run, runtime), runtime.precision)


def test_it_answers_as_the_predictor_does_together_and_alone(
    runtime: Runtime, items: list[Item], expected: Outputs
) -> None:
    tolerance = TOLERANCES[runtime.precision]
    assert_close(run(runtime, items), expected, tolerance)
    for row in (0, 4, 11):
        assert_close(run(runtime, [items[row]]), expected, tolerance, slice(row, row + 1))


def test_it_gives_the_tasks_that_were_asked_for(runtime: Runtime, items: list[Item]) -> None:
    everything, some = run(runtime, items), run(runtime, items, ["year", "season"])
    assert list(some.probabilities) == ["year", "season"]
    for task, values in some.probabilities.items():
        np.testing.assert_allclose(values, everything.probabilities[task], atol=1e-6)


def test_a_later_batch_leaves_an_earlier_ones_answers_alone(runtime: Runtime, items: list[Item]) -> None:
    first = run(runtime, items[:3])
    kept = {task: values.copy() for task, values in first.probabilities.items()}
    run(runtime, items[3:6])
    for task, values in kept.items():
        assert np.array_equal(first.probabilities[task], values)


def test_an_item_with_nothing_in_it_is_refused(runtime: Runtime, items: list[Item]) -> None:
    with pytest.raises(ValueError, match="no modality"):
        run(runtime, [items[0], {}])
    run(runtime, items[:1])


@pytest.fixture(scope="module")
def gathering(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small bundle whose graph takes several answers to a row."""
    tiny = load_bundle(make_bundle(tmp_path_factory.mktemp("gathering") / "tiny", CONFIGS["alpha"]))
    add_files(tiny.path, {"graph.onnx": build_graph(tiny)})
    return load_bundle(tiny.path)


@pytest.mark.parametrize("name", [pytest.param(n, marks=needs_bf16) if n == "openvino bf16" else n for n in MAKERS])
@pytest.mark.parametrize("graph", ["gathering", "bundle"])
def test_further_answers_are_as_those_to_items_that_have_less(
    name: str, graph: str, request: pytest.FixtureRequest
) -> None:
    """Whether the bundle's graph gathers or was written before graphs did; and the items' own are as without."""
    bundle: Bundle = request.getfixturevalue(graph)
    runtime, generator, names = MAKERS[name](bundle), np.random.default_rng(0), list(bundle.config.modalities)
    items = [item_of(bundle.config, pattern, generator) for pattern in patterns_of(bundle.config) * 2]
    narrowed = narrowed_to_coalitions(items, names, [True, True, False, True, True, False])
    assert narrowed is not None
    assert len(narrowed.rows) == 4
    less = [{names[row % 2]: items[row // 2 * 3][names[row % 2]]} for row in range(4)]
    tolerance = TOLERANCES[runtime.precision]
    expected = Predictor(bundle)([*items, *less])
    for asked in (["year"], None):
        found = runtime.start(items, asked, narrowed).result()
        for task, values in found.probabilities.items():
            scale = (bundle.config.tasks[task].scale or (0.0, 1.0))[1]
            np.testing.assert_allclose(
                values / scale, expected.probabilities[task] / scale, atol=tolerance, err_msg=task
            )
        np.testing.assert_allclose(found.alpha, expected.alpha, atol=tolerance)


@needs_bf16
def test_bf16_is_taken_where_the_processor_has_it(bundle: Bundle) -> None:
    assert OpenVinoRuntime(bundle).precision == "bf16"


def test_without_bf16_auto_is_fp32_and_asking_for_it_an_error(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(openvino.Core):
        def get_property(self, *arguments: Any) -> Any:
            return (
                ["FP32", "INT8"]
                if arguments[1:] == ("OPTIMIZATION_CAPABILITIES",)
                else super().get_property(*arguments)
            )

    monkeypatch.setattr(openvino, "Core", Old)
    assert OpenVinoRuntime(bundle).precision == "fp32"
    with pytest.raises(RuntimeUnavailable, match="use auto or fp32"):
        OpenVinoRuntime(bundle, precision="bf16")


def test_onnx_runtime_says_that_it_has_no_bf16(bundle: Bundle) -> None:
    with pytest.raises(RuntimeUnavailable, match="use auto or fp32"):
        OnnxRuntime(bundle, precision="bf16")


@pytest.mark.parametrize("make", [OpenVinoRuntime, OnnxRuntime])
def test_a_graph_that_cannot_be_read_is_named(
    make: Callable[[Bundle], Runtime], bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"\x08\x07nothing")
    monkeypatch.setattr(bundle, "graph", tmp_path / "graph.onnx")
    with pytest.raises(BundleError, match=r"graph\.onnx: .* cannot read it"):
        make(bundle)
    monkeypatch.setattr(bundle, "graph", None)
    with pytest.raises(RuntimeUnavailable, match="has no graph"):
        make(bundle)


def test_threads_of_torch_are_set_as_told(bundle: Bundle) -> None:
    before = torch.get_num_threads()
    try:
        TorchRuntime(bundle, threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("items", [1, 2, 8, 32])
def test_further_answers_come_in_few_numbers(items: int) -> None:
    numbers = {padded_answers(further, items) for further in range(6 * items + 1)}
    assert numbers == {0, items, 2 * items, 4 * items, 8 * items}
    assert all(further <= padded_answers(further, items) < 2 * further + items for further in range(1, 6 * items + 1))


def test_padded_lengths_of_catalogue_titles() -> None:
    assert padded_lengths(48) == (16, 32, 48)
    assert padded_lengths(200) == (16, 32, 48, 64, 96, 128, 192, 200)


@given(st.integers(1, 4096))
def test_padded_lengths_are_few_and_near(longest: int) -> None:
    lengths = padded_lengths(longest)
    assert lengths[-1] == longest
    assert all(0 < after - before <= max(16, before / 2) for before, after in pairwise(lengths))
    assert len(lengths) <= 4 + 2 * max(0, np.log2(longest / 32))
