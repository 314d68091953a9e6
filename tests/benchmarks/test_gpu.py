"""The GPU command runs from end to end without a GPU, and its checks can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu import agreement, draw_items, largest_difference
from model.bundle import load_bundle
from model.predictor import Predictor
from tests.support.tiny import make_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]


def test_the_command_checks_and_measures(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny")
    command = [sys.executable, "-m", "benchmarks.gpu", "--bundle", str(bundle), "--device", "cpu"]
    done = subprocess.run([*command, "--sizes", "1,3", "--repeats", "1"], cwd=ROOT, capture_output=True, text=True)
    document = json.loads(done.stdout)
    assert document["fp32_largest_difference"] == 0.0  # both sides are this CPU
    assert [row["batch"] for row in document["offline_forward"]] == [1, 3]
    assert all(row["fp32_per_second"] > 0 and row["bf16_per_second"] > 0 for row in document["offline_forward"])
    assert done.returncode == (0 if document["passed"] else 1)


def test_without_a_gpu_it_says_what_to_do(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        return
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--device cpu" in done.stderr


def test_a_wrong_device_would_be_seen(tmp_path: Path) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "tiny"))
    items = draw_items(bundle.config, bundle, 24)
    right, wrong = Predictor(bundle)(items), Predictor(bundle)(items)
    assert largest_difference(bundle.config, right, wrong) == 0.0
    assert agreement(bundle.config, right, wrong) == 1.0
    wrong.probabilities["colour"] = np.roll(wrong.probabilities["colour"], 1, axis=1)
    assert largest_difference(bundle.config, right, wrong) > 1e-3
    assert agreement(bundle.config, right, wrong) < 0.995
