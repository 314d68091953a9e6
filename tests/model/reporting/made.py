"""Reports of bundles with random weights, measured on answers that are made up: no network runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from model.bundle import Bundle
from model.calibration import patterns_of
from model.config import Config
from model.inference import PatternOutputs
from model.network.heads import output_size
from model.network.multi_model import FUSED
from model.reporting.measure import measurements
from model.setups import Setup, setup_name

ROWS = 120


def labels_of(config: Config, rows: int = ROWS) -> dict[str, Any]:
    """Random labels for every task, as `Split` has them; of every task, the first row has none."""
    generator = np.random.default_rng(0)
    labels: dict[str, Any] = {}
    for name, task in config.tasks.items():
        if task.kind == "regression":
            labels[name] = generator.normal(20, 5, rows).astype(np.float32)
            labels[name][0] = np.nan
        elif task.kind == "multilabel":
            labels[name] = generator.integers(0, 2, (rows, len(task.labels))).astype(np.float32)
            labels[name][0] = np.nan
        else:
            labels[name] = generator.integers(0, len(task.labels), rows)
            labels[name][0] = -1
    return labels


def setups_of(config: Config, rows: int = ROWS) -> dict[str, Setup]:
    """Random raw outputs of every member for every pattern."""
    generator = np.random.default_rng(1)

    def raw() -> dict[str, Any]:
        return {
            name: generator.normal(0, 2, (rows, output_size(task))).astype(np.float32)
            for name, task in config.tasks.items()
        }

    return {
        setup_name(config, pattern, masked=False): Setup(
            pattern, PatternOutputs(np.arange(rows), {member: raw() for member in (FUSED, *pattern)})
        )
        for pattern in patterns_of(config)
    }


def report_of(bundle: Bundle, **changes: Any) -> dict[str, Any]:
    """A whole report on such answers."""
    config = bundle.config
    parts = measurements(config, bundle.calibration, setups_of(config), labels_of(config))
    return {
        "tasks": list(config.tasks),
        "rows": ROWS,
        "labelled": dict.fromkeys(config.tasks, ROWS - 1),
        "parameters": 1234,
        "masked": [],
        "split": "test",
        "date": "2026-01-02",
        "command": "trunkline evaluate tiny",
        "machine": "test",
        **parts,
    } | changes
