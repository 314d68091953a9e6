"""What a runtime and its precision cost in accuracy, and take in time, beside torch in fp32.

    python -m benchmarks.precision weights/fashion --data PATH

PATH holds the table and the pictures that the bundle was trained from; its test split is measured, once for each set of
inputs. Prints a table in Markdown: accuracy, and its difference in points from torch's; the share of labels that stay
the same; how far probabilities move; the processor's time. `--int8` adds the graph quantised by NNCF, with activations
calibrated on the validation split; that needs `pip install nncf`, which no installation of Trunkline brings. `--json`
writes all figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from app.serving.runtime import Runtime, RuntimeUnavailable, run
from app.serving.runtimes.choice import choose_runtime
from app.serving.runtimes.graph import GraphEnds
from model.bundle import Bundle, load_bundle
from model.calibration import pattern_key, patterns_of
from model.config import Task
from model.data.dataset import Dataset, Split, load_dataset
from model.metrics import labelled_rows, measure
from model.outputs import Outputs
from model.preprocess import Item

REFERENCE = "torch fp32"
SETUPS = (("torch", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
INT8 = "openvino int8"
_CALIBRATION_ROWS = 512


def items_of(bundle: Bundle, split: Split, pattern: tuple[str, ...], most: int | None = None) -> tuple[Any, list[Item]]:
    """Row numbers and items of the rows that have all of a pattern's modalities, the others hidden."""
    columns = [list(bundle.config.modalities).index(name) for name in pattern]
    rows = np.flatnonzero(split.present[:, columns].all(axis=1))[:most]
    tokens = {
        name: bundle.tokenizers[name].batch([split.texts[name][row] for row in rows])
        for name in pattern
        if name in split.texts
    }
    items: list[Item] = []
    for position, row in enumerate(rows):
        items.append({n: tokens[n][position].ids if n in tokens else np.asarray(split.images[n][row]) for n in pattern})
    return rows, items


def answer(runtime: Runtime, items: list[Item], batch: int) -> tuple[Outputs, float]:
    """Every item's outputs, and the processor's seconds that they took. Items run in the order of their lengths."""
    order = sorted(range(len(items)), key=lambda i: max((len(v) for v in items[i].values() if v.ndim == 1), default=0))
    started = time.process_time()
    parts = [run(runtime, [items[i] for i in order[start : start + batch]]) for start in range(0, len(order), batch)]
    seconds = time.process_time() - started
    back = np.argsort(order)
    tasks = parts[0].probabilities
    joined = {task: np.concatenate([part.probabilities[task] for part in parts])[back] for task in tasks}
    return Outputs(joined, np.concatenate([part.alpha for part in parts])[back]), seconds


def labels_of(task: Task, answers: np.ndarray) -> np.ndarray:
    """What an answer says: a class, or each label's yes or no."""
    return answers >= 0.5 if task.kind in ("multilabel", "binary") else answers.argmax(axis=1)


def compare(task: Task, found: np.ndarray, reference: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """One task's figures in one set of inputs."""
    metrics = measure(task, found, targets)
    same = labels_of(task, found) == labels_of(task, reference)
    moved = np.abs(found - reference).reshape(len(found), -1).max(axis=1) / (task.scale or (0, 1))[1]
    return {
        "rows": int(labelled_rows(task, targets).sum()),
        "accuracy": metrics.get("accuracy", metrics.get("r2", float("nan"))),
        "same": float(same.reshape(len(same), -1).all(axis=1).mean()),
        "moved_p99": float(np.quantile(moved, 0.99)),
        "moved_most": float(moved.max()),
    }


def quantised(bundle: Bundle, split: Split, folder: Path) -> Bundle:
    """The bundle with its network's weights and activations in int8, as NNCF's defaults make it."""
    import nncf

    from app.serving.runtimes.quiet_openvino import openvino
    from model.export.onnx_file import build_model

    ends = GraphEnds(bundle)
    feeds = []
    for pattern in patterns_of(bundle.config):
        _, items = items_of(bundle, split, pattern, _CALIBRATION_ROWS)
        feeds += [ends.feed(items[start : start + 8]) for start in range(0, len(items), 8)]
    # Norms are folded into convolutions first, as quantising wants them.
    model = openvino.Core().read_model(build_model(bundle))
    made = nncf.quantize(model, nncf.Dataset(feeds), subset_size=len(feeds), preset=nncf.QuantizationPreset.MIXED)
    openvino.save_model(made, str(folder / "int8.xml"), compress_to_fp16=False)
    return dataclasses.replace(bundle, graph=folder / "int8.xml")


def runtimes(bundle: Bundle, dataset: Dataset, int8: bool, threads: int) -> Iterator[tuple[str, Runtime]]:
    """What is measured, the reference first; what is not installed here, or not native, is left out and said."""
    for name, precision in SETUPS:
        try:
            runtime = choose_runtime(bundle, runtime=name, device="cpu", precision=precision, threads=threads)
        except RuntimeUnavailable as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        yield f"{name} {precision}", runtime
    if int8:
        with tempfile.TemporaryDirectory() as folder:
            made = quantised(bundle, dataset.splits["val"], Path(folder))
            yield INT8, choose_runtime(made, runtime="openvino", device="cpu", precision="fp32", threads=threads)


def evaluate(bundle: Bundle, dataset: Dataset, int8: bool, batch: int, threads: int) -> dict[str, Any]:
    """Set of inputs -> runtime -> figures."""
    split = dataset.splits["test"]
    inputs = {pattern: items_of(bundle, split, pattern) for pattern in patterns_of(bundle.config)}
    results: dict[str, Any] = {pattern_key(pattern): {} for pattern in inputs}
    reference: dict[str, Outputs] = {}
    for name, runtime in runtimes(bundle, dataset, int8, threads):
        for pattern, (rows, items) in inputs.items():
            key = pattern_key(pattern)
            answer(runtime, items[: 2 * batch], batch)  # shapes are met for the first time
            outputs, seconds = answer(runtime, items, batch)
            reference.setdefault(key, outputs)
            results[key][name] = {
                "ms_per_item": 1000 * seconds / len(items),
                "tasks": {
                    task: compare(
                        bundle.config.tasks[task],
                        values,
                        reference[key].probabilities[task],
                        np.asarray(split.labels[task])[rows],
                    )
                    for task, values in outputs.probabilities.items()
                },
            }
    return results


def table(results: dict[str, Any]) -> Iterator[str]:
    """The figures as Markdown."""
    yield "| input | runtime | ms an item | worst task, points from torch | same labels | moved, p99 | moved, most |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for key, setups in results.items():
        base = setups[REFERENCE]["tasks"]
        for name, figures in setups.items():
            tasks = figures["tasks"]
            points = {task: 100 * (values["accuracy"] - base[task]["accuracy"]) for task, values in tasks.items()}
            worst = min(points, key=points.__getitem__)
            same = min(values["same"] for values in tasks.values())
            p99, most = (max(values[w] for values in tasks.values()) for w in ("moved_p99", "moved_most"))
            yield (
                f"| {key} | {name} | {figures['ms_per_item']:.2f} | {points[worst]:+.2f} ({worst}) "
                f"| {100 * same:.2f} % | {p99:.2g} | {most:.2g} |"
            )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--int8", action="store_true", help="quantise too; needs nncf")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1, help="of a forward")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    splits = ("val", "test") if arguments.int8 else ("test",)
    dataset = load_dataset(bundle.config, arguments.data, labels_from=bundle.config, splits=splits)
    results = evaluate(bundle, dataset, arguments.int8, arguments.batch, arguments.threads)
    print("\n".join(table(results)))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
