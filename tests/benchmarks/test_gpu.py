"""The GPU command runs from end to end without a GPU, and its checks can fail."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from app.serving.runtimes.cuda import CudaRuntime
from benchmarks.device.bundles import make_bundle
from benchmarks.device.checks import Reference, agreement, largest_difference, over_shapes, relative_error
from benchmarks.device.forward import alike_items, arithmetic, pipeline
from benchmarks.device.host import HostDevice
from benchmarks.device.service import waste
from benchmarks.device.table import show
from benchmarks.device.usage import Usage, busy_seconds
from benchmarks.gpu import judge, main
from model.bundle import Bundle, load_bundle
from model.predictor import Predictor
from tests.support.production import small_production
from tests.support.tiny import make_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))


def command(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gpu.py", *flags])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the service that it starts
    return main()


def test_the_command_checks_and_measures(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    flags = ["--quick", "--device", "cpu", "--bundle", str(bundle.path), "--production", "none", "--out", str(out)]
    status = command(monkeypatch, *flags)
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document == json.loads(out.read_text())
    assert document["errors"] == {}
    figures = document["models"]["shipped"]
    assert figures["checks"]["fp32"]["largest_difference"] <= 1e-4
    assert [row["batch"] for row in figures["forward"]] == [1, 2]
    assert all(row[mode] > 0 for row in figures["forward"] for mode in ("fp32", "bf16", "bf16 graphs"))
    assert figures["pipeline"]["2 in flight"]["2"] > 0
    (level,) = figures["service"]["levels"]
    assert level["answered"] > 0
    assert level["errors"] == 0
    assert level["mean_batch"] >= 1
    assert status == (0 if document["passed"] else 1)
    assert "the service under load" in printed.err


def test_a_section_that_fails_fails_the_command_and_lets_the_others_run(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.gpu.check", lambda *arguments, **more: 1 // 0)
    flags = ["--quick", "--device", "cpu", "--bundle", str(bundle.path), "--production", "none"]
    assert command(monkeypatch, *flags, "--only", "checks", "forward") == 1
    document = json.loads(capsys.readouterr().out)
    assert "ZeroDivisionError" in document["errors"]["shipped: checks"]
    assert document["models"]["shipped"]["forward"]


def test_without_a_gpu_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert command(monkeypatch) == 2
    assert "--device cpu" in capsys.readouterr().err


def test_a_device_that_answers_wrongly_is_seen(bundle: Bundle) -> None:
    reference = Reference(bundle, (1, 2), 2, Predictor(bundle))
    runtime = CudaRuntime(bundle, (1, 2), device=HostDevice(), precision="fp32")
    shapes, difference = over_shapes(runtime, reference)
    assert shapes == len(reference.shapes.graphs())
    assert difference <= 1e-4
    reference.answers["colour"] = np.roll(reference.answers["colour"], 1, axis=1)
    assert over_shapes(runtime, reference)[1] > 1e-3
    reference.answers["colour"][:] = np.nan
    assert over_shapes(runtime, reference)[1] == float("inf")


def test_differences_are_those_of_the_answers(bundle: Bundle) -> None:
    config = bundle.config
    items = Reference(bundle, (1,), 2, predictor := Predictor(bundle)).items
    right, wrong = predictor(items).probabilities, dict(predictor(items).probabilities)
    assert largest_difference(config, right, wrong) == 0.0
    assert agreement(config, right, wrong) == 1.0
    assert relative_error(right, wrong) == 0.0
    wrong["colour"] = np.roll(wrong["colour"], 1, axis=1)
    assert largest_difference(config, right, wrong) > 1e-3
    assert agreement(config, right, wrong) < 0.995
    assert relative_error(right, wrong) > 1e-2


def test_arithmetic_grows_with_the_text_and_is_mostly_the_picture(bundle: Bundle) -> None:
    counted = arithmetic(bundle)
    assert 0 < counted["token"] < counted["item"]


def test_waste_is_the_share_of_the_arithmetic_that_padding_took() -> None:
    counted = {'trunkline_text_tokens_total{kind="read"}': 30.0, 'trunkline_text_tokens_total{kind="padding"}': 10.0}
    assert waste(10, counted, {"item": 6.0, "token": 1.0}) == 0.1
    assert waste(0, {}, {"item": 6.0, "token": 1.0}) is None


def test_the_runtime_is_driven_with_items_of_every_length(bundle: Bundle) -> None:
    reference = Reference(bundle, (2,), 1, Predictor(bundle))
    runtime = CudaRuntime(bundle, (2,), device=HostDevice(), precision="fp32")
    assert pipeline(runtime, reference.items, 2, 2, 0.01) > 0
    assert len({reference.shapes.of([item]).length for item in alike_items(reference.items, reference.shapes)}) == 1


def test_the_production_config_is_one_and_a_bundle_of_it_answers(tmp_path: Path) -> None:
    document = small_production()
    source = tmp_path / "small.yaml"
    source.write_text(yaml.safe_dump(document))
    made = load_bundle(make_bundle(tmp_path / "production", source, ["red shirt", "blue shoe"] * 3))
    outputs = Predictor(made)(Reference(made, (1,), 1, Predictor(made)).items)
    assert outputs.probabilities["brand"].shape[1] == 100
    assert outputs.probabilities["brand"].std(axis=0).max() > 0, "inputs must be told apart"


def service(rate: float, busy: float, waste: float) -> dict[str, Any]:
    level = {"clients": 8, "answered_per_second": rate, "busy_cores": busy, "padding_waste": waste, "answered": 1}
    return {"cores": 16, "levels": [level, {**level, "answered_per_second": rate / 2}]}


@pytest.mark.parametrize(
    ("rate", "busy", "waste", "reached"),
    [
        (5400.0, 3.0, 0.01, [True, True, True]),
        (5100.0, 15.9, 0.06, [False, True, True]),
        (4900.0, 3.0, 0.01, [True, False, False]),
    ],
)
def test_targets_are_judged_by_the_best_level(rate: float, busy: float, waste: float, reached: list[bool]) -> None:
    figures = {"service": service(rate, busy, waste), "forward": [{"batch": 8, "bf16 graphs": 6000.0}]}
    assert list(judge(figures, production=True).values()) == reached
    assert judge({"service": None}, production=True) == {}


def test_the_table_names_what_failed_and_what_was_missed() -> None:
    document = {
        "device": "a GPU", "torch": "2", "cores": 16, "date": "2026-01-01", "models": {},
        "checks": {"shipped: a": True, "shipped: b": False}, "errors": {"shipped: service": "Traceback\nOSError: no"},
        "targets": {"shipped: c": False},
    }  # fmt: skip
    lines = show(document, judged=True).splitlines()
    assert {"passed: shipped: a", "FAILED: shipped: b", "MISSED: shipped: c"} < set(lines)
    assert "FAILED: shipped: service raised OSError: no" in lines
    assert "MISSED" not in show(document, judged=False)


def test_busy_cores_are_read_off_the_kernels_counts(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    ticks = os.sysconf("SC_CLK_TCK")
    stat.write_text(f"cpu  {3 * ticks} {ticks} {ticks} 999 999 {ticks} {ticks} 5 0 0\ncpu0 1 1 1 1\n")
    assert busy_seconds(stat) == 7.0
    with Usage(gpu=False) as usage:
        sum(range(1000))
    assert usage.summary()["busy_cores"] >= 0
