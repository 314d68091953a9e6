"""The CUDA runtime on a stand-in device: order, overlap and pairing by count; CUDA itself is for benchmarks/gpu.py."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.serving.runtime import DeviceOutOfMemory, RuntimeUnavailable, run
from app.serving.runtimes.cuda import CudaRuntime
from app.serving.runtimes.device import CudaDevice
from app.serving.runtimes.shapes import Shapes
from model.bundle import Bundle, load_bundle
from model.config import Config
from model.explanation import narrowed_to_coalitions
from model.export.module import CalibratedNetwork
from model.golden import check_golden
from model.outputs import Outputs
from model.predictor import Predictor
from model.preprocess import Item
from tests.model.export.bundles import CONFIGS, make_bundle
from tests.model.making import item_of, patterns
from tests.support.on_device import StaysOnDevice
from tests.support.standin import DOWNLOAD, RUN, UPLOAD, Span, StandInDevice

SIZES = (1, 2, 4)
SECONDS = {UPLOAD: 3.0, RUN: 10.0, DOWNLOAD: 1.0}


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


def build(bundle: Bundle, device: StandInDevice | None = None, **choices: Any) -> tuple[CudaRuntime, StandInDevice]:
    device = device or StandInDevice()
    runtime = CudaRuntime(bundle, SIZES, device=device, **choices)
    device.spans.clear()
    device.counts.clear()
    return runtime, device


def draw(config: Config, sizes: Sequence[int], seed: int = 0) -> Iterator[list[Item]]:
    """Batches of these sizes; the first has every modality, the others go round the patterns."""
    generator = np.random.default_rng(seed)
    for number, size in enumerate(sizes):
        order = patterns(config)[::-1]
        yield [item_of(config, order[(number and number + row) % len(order)], generator) for row in range(size)]


def assert_same(found: Outputs, expected: Outputs) -> None:
    assert list(found.probabilities) == list(expected.probabilities)
    for task, values in expected.probabilities.items():
        assert found.probabilities[task].dtype == np.float32
        np.testing.assert_allclose(found.probabilities[task], values, rtol=1e-4, atol=1e-5, err_msg=task)
    np.testing.assert_allclose(found.alpha, expected.alpha, atol=1e-5)


def drive(runtime: CudaRuntime, batches: Sequence[list[Item]], in_flight: int) -> list[Outputs]:
    """Start batches as the engine does: so many have no result yet at any time."""
    pending, outputs = deque[Any](), []
    for batch in batches:
        if len(pending) == in_flight:
            outputs.append(pending.popleft().result())
        pending.append(runtime.start(batch))
    return outputs + [entry.result() for entry in pending]


@pytest.mark.parametrize("fusion", CONFIGS)
def test_every_shape_gives_the_predictors_answers(fusion: str, tmp_path: Path) -> None:
    """Every size and length that has a graph, every pattern of modalities, and sizes that have none."""
    bundle = load_bundle(make_bundle(tmp_path / "tiny", CONFIGS[fusion]))
    runtime, device = build(bundle)
    check_golden(bundle, lambda items: run(runtime, items))
    predictor = Predictor(bundle)
    # More rows than there are places for, though their inputs take less room than those of a full batch.
    text = next(name for name, modality in bundle.config.modalities.items() if modality.kind == "text")
    narrow = [{text: np.arange(1, 2 + number % 3)} for number in range(9)]
    for batch in [*draw(bundle.config, [1, 2, 4, 3, 5, 1, 1, 2, 2, 9]), narrow]:
        assert_same(run(runtime, batch), predictor(batch))
    assert device.counts["replay"] >= 7
    assert device.counts["eager"] >= 3
    assert device.counts["settle"] == 0


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fusion", CONFIGS)
def test_what_a_graph_holds_needs_neither_values_nor_the_host(
    fusion: str, precision: torch.dtype, tmp_path: Path
) -> None:
    """On tensors that have shapes and no values, for every pattern of modalities."""
    bundle = load_bundle(make_bundle(tmp_path / "tiny", CONFIGS[fusion]))
    network = CalibratedNetwork(bundle)
    network.network.fold(precision)
    network.to("meta")
    shapes = Shapes(bundle.config, [2])
    for shape in shapes.graphs():
        regions, present = shapes.regions(shape)
        there = {name: torch.empty(r.shape, dtype=r.dtype, device="meta") for name, r in regions.items()}
        here = torch.empty(present.shape, dtype=present.dtype, device="meta")
        with (
            torch.inference_mode(),
            StaysOnDevice([*network.parameters(), *network.buffers(), *there.values(), here]),
        ):
            answers = torch.cat(network([there.get(name) for name in bundle.config.modalities], here), dim=1)
        assert answers.dtype == torch.float32


@pytest.mark.parametrize("fusion", CONFIGS)
def test_further_answers_run_without_a_graph_between_batches_that_have_one(fusion: str, tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "tiny", CONFIGS[fusion]))
    runtime, device = build(bundle)
    predictor, names = Predictor(bundle), list(bundle.config.modalities)
    last = list(bundle.config.tasks)[-1:]
    whole, other, large = draw(bundle.config, [2, 2, 4])
    narrowed = narrowed_to_coalitions(whole, names, [False, True])
    assert narrowed is not None
    device.shuffle(3)
    pending = [runtime.start(other), runtime.start(whole, last, narrowed)]
    assert_same(pending[0].result(), predictor(other))
    assert_same(pending[1].result(), predictor(whole, last, narrowed))
    # More answers than there is room for in the place of a full batch.
    large[0] = whole[0]
    narrowed = narrowed_to_coalitions(large, names, [True] * 4)
    assert_same(runtime.start(large, None, narrowed).result(), predictor(large, None, narrowed))
    assert device.counts["eager"] == 2
    assert device.counts["settle"] == 0


def test_heads_that_are_not_asked_for_are_left_out(bundle: Bundle) -> None:
    runtime, _ = build(bundle)
    (batch,) = draw(bundle.config, [2])
    assert_same(run(runtime, batch, ["year", "colour"]), Predictor(bundle)(batch, ["year", "colour"]))


@pytest.fixture(scope="module")
def runtimes(bundle: Bundle) -> dict[int, tuple[CudaRuntime, StandInDevice]]:
    return {in_flight: build(bundle, in_flight=in_flight) for in_flight in (1, 2, 3)}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(1, 5), min_size=3, max_size=9),
    seed=st.integers(0, 2**32 - 1),
    in_flight=st.integers(1, 3),
)
def test_whatever_order_the_streams_run_in_answers_are_right(
    bundle: Bundle,
    runtimes: dict[int, tuple[CudaRuntime, StandInDevice]],
    sizes: list[int],
    seed: int,
    in_flight: int,
) -> None:
    runtime, device = runtimes[in_flight]
    device.shuffle(seed)
    predictor = Predictor(bundle)
    batches = list(draw(bundle.config, sizes, seed))
    for found, batch in zip(drive(runtime, batches, in_flight), batches, strict=True):
        assert_same(found, predictor(batch))


def test_without_the_events_between_streams_answers_would_be_wrong(bundle: Bundle) -> None:
    """So the test above can fail."""
    runtime, device = build(bundle)
    device.forgets_waits = True
    batches = list(draw(bundle.config, [2] * 6))
    expected = [Predictor(bundle)(batch) for batch in batches]
    device.shuffle(0)
    try:
        found = drive(runtime, batches, 2)
    except IndexError:  # token ids that nobody had written yet
        return
    pairs = zip(found, expected, strict=True)
    assert not all(np.allclose(one.alpha, other.alpha, atol=1e-3) for one, other in pairs)


def test_two_in_flight_leave_the_device_no_pause_between_batches(bundle: Bundle) -> None:
    count = 40
    batches = list(draw(bundle.config, [4] * count))
    runtime, device = build(bundle, StandInDevice(SECONDS))
    drive(runtime, batches, 2)
    runs = device.busy(RUN)
    assert len(runs) == count
    assert pauses(runs) == 0
    assert device.now == SECONDS[UPLOAD] + count * SECONDS[RUN] + SECONDS[DOWNLOAD]
    # Each batch but the first was uploaded while the one before it ran, each but the last copied back beside the next.
    assert sum(overlap(up, run) for up, run in zip(device.busy(UPLOAD)[1:], runs, strict=False)) == 3.0 * (count - 1)
    assert sum(overlap(down, run) for down, run in zip(device.busy(DOWNLOAD), runs[1:], strict=False)) == count - 1


def test_one_in_flight_pauses_for_every_copy(bundle: Bundle) -> None:
    """What the test above would see if batches did not overlap."""
    runtime, device = build(bundle, StandInDevice(SECONDS))
    drive(runtime, list(draw(bundle.config, [4] * 10)), 1)
    assert device.now == 10 * sum(SECONDS.values())
    assert pauses(device.busy(RUN)) == 9 * (SECONDS[UPLOAD] + SECONDS[DOWNLOAD])


def test_when_copies_take_longer_than_forwards_they_set_the_pace_alone(bundle: Bundle) -> None:
    seconds = {UPLOAD: 10.0, RUN: 4.0, DOWNLOAD: 2.0}
    runtime, device = build(bundle, StandInDevice(seconds), in_flight=3)
    drive(runtime, list(draw(bundle.config, [4] * 20)), 3)
    assert device.now == 20 * 10.0 + 4.0 + 2.0


def test_the_host_waits_once_a_batch_and_in_result_alone(bundle: Bundle) -> None:
    runtime, device = build(bundle)
    pending = [runtime.start(batch) for batch in draw(bundle.config, [4, 4])]
    assert device.counts["synchronize"] == device.counts["settle"] == 0
    assert device.spans == []  # nothing has even run: start had no need of it
    for number, batch in enumerate(pending, start=1):
        batch.result()
        assert device.counts["synchronize"] == number
    assert device.counts["settle"] == 0


def test_each_batch_is_one_copy_there_one_launch_and_one_copy_back(bundle: Bundle) -> None:
    runtime, device = build(bundle)
    drive(runtime, list(draw(bundle.config, [4] * 5)), 2)
    assert [len(device.busy(kind)) for kind in (UPLOAD, RUN, DOWNLOAD)] == [5, 5, 5]
    assert device.counts["replay"] == 5


def test_more_batches_than_there_are_places_are_refused_and_nothing_is_overwritten(bundle: Bundle) -> None:
    runtime, _ = build(bundle)
    batches = list(draw(bundle.config, [4, 4, 4]))
    first, second = (runtime.start(batch) for batch in batches[:2])
    with pytest.raises(RuntimeError, match="in flight"):
        runtime.start(batches[2])
    predictor = Predictor(bundle)
    assert_same(first.result(), predictor(batches[0]))
    assert_same(run(runtime, batches[2]), predictor(batches[2]))
    assert_same(second.result(), predictor(batches[1]))


def test_an_answer_stays_when_its_place_is_used_again(bundle: Bundle) -> None:
    runtime, _ = build(bundle, in_flight=1)
    batches = list(draw(bundle.config, [4, 4]))
    first = run(runtime, batches[0])
    run(runtime, batches[1])
    assert_same(first, Predictor(bundle)(batches[0]))


def test_an_item_that_cannot_be_collated_leaves_its_place_to_the_next(bundle: Bundle) -> None:
    runtime, _ = build(bundle, in_flight=1)
    (good,) = draw(bundle.config, [2])
    for bad in ({}, {"image": np.zeros((3, 3, 3), np.uint8)}, {"text": np.arange(1, 40)}):
        with pytest.raises(ValueError, match=r"no modality|broadcast"):
            runtime.start([*good, bad])
    assert_same(run(runtime, good), Predictor(bundle)(good))


def test_memory_that_is_too_small_at_load_is_an_error_that_says_what_to_do(bundle: Bundle) -> None:
    with pytest.raises(RuntimeUnavailable, match="--batch-sizes"):
        CudaRuntime(bundle, SIZES, device=StandInDevice(room=1000))


def test_a_batch_without_memory_fails_and_smaller_ones_go_on(bundle: Bundle) -> None:
    (small,), (large,) = draw(bundle.config, [2]), draw(bundle.config, [64])
    runtime, device = build(bundle)
    device.room = 1000
    with pytest.raises(DeviceOutOfMemory, match="batch of 64"):
        runtime.start(large)
    assert_same(run(runtime, small), Predictor(bundle)(small))


def test_bf16_where_the_device_has_it_and_never_elsewhere(bundle: Bundle) -> None:
    half, _ = build(bundle, StandInDevice(has_bf16=True))
    assert half.precision == "bf16"
    assert build(bundle, StandInDevice(has_bf16=True), precision="fp32")[0].precision == "fp32"
    assert build(bundle)[0].precision == "fp32"
    with pytest.raises(RuntimeUnavailable, match="bf16"):
        build(bundle, precision="bf16")
    predictor = Predictor(bundle)
    for batch in draw(bundle.config, [4, 4, 3]):
        found, expected = run(half, batch), predictor(batch)
        for task, values in expected.probabilities.items():
            assert found.probabilities[task].dtype == np.float32
            scale = (bundle.config.tasks[task].scale or (0.0, 1.0))[1]
            difference = np.abs(found.probabilities[task] - values).max() / scale
            assert 0 < difference < 0.1, task


def test_graphs_can_be_left_out(bundle: Bundle) -> None:
    runtime, device = build(bundle, graphs=False)
    (batch,) = draw(bundle.config, [4])
    assert_same(run(runtime, batch), Predictor(bundle)(batch))
    assert device.counts["eager"] == 1
    assert device.counts["replay"] == 0


def test_without_cuda_it_says_what_there_is() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(RuntimeUnavailable, match="no CUDA device"):
        CudaDevice()


def pauses(spans: list[Span]) -> float:
    return sum(later.start - earlier.end for earlier, later in pairwise(spans))


def overlap(one: Span, other: Span) -> float:
    return max(0.0, min(one.end, other.end) - max(one.start, other.start))
