"""Evaluation of a bundle on a split: metrics, reliability, coverage, confusions, familiarity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import Bundle
from model.calibration import Calibration
from model.config import Config, Task
from model.confusion import confusion_pairs
from model.coverage import ASKED, KINDS, measure_coverage
from model.data.dataset import Split
from model.data.labels import Labels
from model.metrics import FloatArray, labelled_rows, measure
from model.predictor import build_network
from model.reliability import confidences, reliability
from model.reporting.familiarity import measure_familiarity
from model.setups import Setup, answers_of, run_setups, setup_name
from model.training.batches import BatchMaker


def evaluate(
    bundle: Bundle,
    split: Split,
    device: torch.device,
    masked_words: frozenset[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure the calibrated answers for each set of modalities, and for texts without the words that name a label.

    `masked_words` replaces the words that the config's labels give. Rows without a label do not count.
    """
    network = build_network(bundle)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it
    config = bundle.config
    maker = BatchMaker(config, split, bundle.tokenizers, masked_words)
    setups = run_setups(network, maker, progress)
    familiarity = measure_familiarity(network, maker, bundle.calibration)
    return {
        "tasks": list(config.tasks),
        "rows": len(split),
        "labelled": {
            name: int(labelled_rows(task, np.asarray(split.labels[name])).sum()) for name, task in config.tasks.items()
        },
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "masked": [name for name, setup in setups.items() if name != setup_name(config, setup.pattern, masked=False)],
        **measurements(config, bundle.calibration, setups, split.labels),
        **({"familiarity": familiarity} if familiarity else {}),
    }


def measurements(
    config: Config, calibration: Calibration, setups: Mapping[str, Setup], labels: Mapping[str, Labels]
) -> dict[str, dict[str, dict[str, Any]]]:
    """What is measured on the calibrated answers, each part under setup -> task.

    `results`: what `metrics.measure` gives, and the ECE; `coverage`: asked -> what `measure_coverage` gives;
    `reliability`: the bins; `confusions`: the pairs. A task is left out of a part that does not go with its kind, or
    where no row has a label.
    """
    parts: dict[str, dict[str, dict[str, Any]]] = {
        part: {name: {} for name in setups} for part in ("results", "coverage", "reliability", "confusions")
    }
    for setup_key, setup in setups.items():
        for name, answers in answers_of(config, calibration, setup).items():
            targets = labels[name][setup.outputs.rows]
            thresholds = {f"{asked:g}": calibration.threshold(name, setup.pattern, asked) for asked in ASKED}
            for part, found in _measure_task(config.tasks[name], answers, targets, thresholds).items():
                parts[part][setup_key][name] = found
    return parts


def _measure_task(
    task: Task, answers: FloatArray, targets: NDArray[Any], thresholds: Mapping[str, float | None]
) -> dict[str, Any]:
    found: dict[str, Any] = {"results": measure(task, answers, targets)}
    rows = labelled_rows(task, targets)
    if not rows.any():
        return found
    answers, targets = answers[rows], targets[rows]
    if task.kind != "regression":
        curve = reliability(*confidences(task, answers, targets))
        found["results"]["ece"] = curve["ece"]
        found["results"]["ece_chance"] = curve["chance"]
        found["reliability"] = curve["bins"]
        found["confusions"] = confusion_pairs(task, answers, targets)
    if task.kind in KINDS:
        measured = {
            asked: measure_coverage(task, answers, targets, threshold)
            for asked, threshold in thresholds.items()
            if threshold is not None
        }
        if kept := {asked: share for asked, share in measured.items() if share is not None}:
            found["coverage"] = kept
    return found
