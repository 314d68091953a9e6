"""What a GPU does with a bundle: the same answers as the CPU, and how fast.

    python benchmarks/gpu.py --bundle weights/fashion

Needs no network and no data: inputs are drawn from a seed. Prints one JSON document; exits 1 when a check fails.
`--device cpu` runs the same code without a GPU, which shows that the command works, not how fast a GPU is.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.bundle import Bundle, load_bundle
from model.calibration import patterns_of
from model.config import Config, TextModality
from model.golden import check_golden
from model.outputs import Outputs
from model.predictor import Predictor
from model.preprocess import Item, collate

FP32_TOLERANCE = 1e-4
BF16_AGREEMENT = 0.995


def draw_items(config: Config, bundle: Bundle, count: int, seed: int = 0) -> list[Item]:
    """Random items that go round the availability patterns, texts of mixed length."""
    generator = np.random.default_rng(seed)
    patterns = patterns_of(config)
    items: list[Item] = []
    for number in range(count):
        item: dict[str, np.ndarray] = {}
        for name in patterns[number % len(patterns)]:
            modality = config.modalities[name]
            if isinstance(modality, TextModality):
                length = int(generator.integers(2, modality.max_tokens + 1))
                item[name] = generator.integers(1, bundle.tokenizers[name].vocab_size, length)
            else:
                item[name] = generator.integers(0, 256, (modality.height, modality.width, 3), dtype=np.uint8)
        items.append(item)
    return items


def largest_difference(config: Config, first: Outputs, second: Outputs) -> float:
    """Largest difference of any answer, regression in units of its standard deviation."""
    return max(
        float(np.abs(first.probabilities[name] - second.probabilities[name]).max()) / (task.scale or (0.0, 1.0))[1]
        for name, task in config.tasks.items()
    )


def agreement(config: Config, first: Outputs, second: Outputs) -> float:
    """Share of class answers that are the same."""
    same = []
    for name, task in config.tasks.items():
        a, b = first.probabilities[name], second.probabilities[name]
        if task.kind in ("multiclass", "ordinal"):
            same.append(a.argmax(1) == b.argmax(1))
        elif task.kind in ("multilabel", "binary"):
            same.append(((a >= 0.5) == (b >= 0.5)).all(1))
    return float(np.concatenate(same).mean()) if same else 1.0


def seconds(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median seconds of one call, after two that are not counted."""
    times = []
    for number in range(repeats + 2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(path: Path, device_name: str, sizes: list[int], repeats: int) -> dict[str, Any]:
    """Every check and every figure, as one document."""
    bundle = load_bundle(path)
    device = torch.device(device_name)
    reference, predictor = Predictor(bundle, "cpu"), Predictor(bundle, device_name)
    check_golden(bundle, predictor)
    items = draw_items(bundle.config, bundle, 192)
    expected, found = reference(items), predictor(items)
    with torch.autocast(device.type, torch.bfloat16):
        half = predictor(items)
    throughput = []
    for size in sizes:
        batch = collate(draw_items(bundle.config, bundle, size, seed=size), bundle.config)
        row: dict[str, Any] = {"batch": size}
        for name, enabled in (("fp32", False), ("bf16", True)):
            with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
                forward = partial(predictor.run, batch)
                row[f"{name}_per_second"] = round(size / seconds(forward, device, repeats), 1)
        throughput.append(row)
    difference, same = largest_difference(bundle.config, expected, found), agreement(bundle.config, expected, half)
    return {
        "bundle": f"{bundle.name} {bundle.version} ({bundle.digest})",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "golden": "passed",
        "fp32_largest_difference": difference,
        "bf16_agreement": same,
        "offline_forward": throughput,
        "passed": difference <= FP32_TOLERANCE and same >= BF16_AGREEMENT,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("weights/fashion"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", default="1,8,32,128,512", help="batch sizes, separated by commas")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device is visible to this torch; --device cpu runs the same code without one", file=sys.stderr)
        return 2
    sizes = [int(size) for size in arguments.sizes.split(",")]
    document = measure(arguments.bundle, arguments.device, sizes, arguments.repeats)
    print(json.dumps(document, indent=1))
    return 0 if document["passed"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
