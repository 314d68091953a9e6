"""The ways to ask a network about a split: each set of modalities, with whole texts and with label words masked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.calibration import Calibration, pattern_key
from model.config import Config, TextModality
from model.data.labels import Labels
from model.inference import PatternOutputs, run_patterns
from model.metrics import measure
from model.network import Network
from model.training.batches import BatchMaker
from model.training.calibrate import blend_all


@dataclass
class Setup:
    """One way to ask: the modalities that are shown, and what the members made of the samples that have them."""

    pattern: tuple[str, ...]
    outputs: PatternOutputs


def setup_name(config: Config, pattern: tuple[str, ...], masked: bool) -> str:
    """How reports call a way to ask, such as "image + masked text"."""
    return " + ".join(
        f"masked {name}" if masked and isinstance(config.modalities[name], TextModality) else name for name in pattern
    )


def run_setups(
    network: Network, maker: BatchMaker, progress: Callable[[int, int], None] | None = None
) -> dict[str, Setup]:
    """Run a split through a network in every way; the encoders run once, and again where there are texts to mask."""
    config = maker.config
    setups: dict[str, Setup] = {}
    has_text = any(isinstance(modality, TextModality) for modality in config.modalities.values())
    for masked in (False, True) if has_text else (False,):
        for pattern, outputs in run_patterns(network, maker, masked=masked, progress=progress).items():
            setups.setdefault(setup_name(config, pattern, masked), Setup(pattern, outputs))
    return setups


def answers_of(config: Config, calibration: Calibration, setup: Setup) -> dict[str, NDArray[np.float32]]:
    """The calibrated answers to a way to ask, as the service gives them: task -> [n, C], a row for each of its rows."""
    return blend_all(config, calibration.patterns[pattern_key(setup.pattern)], setup.outputs)


def measure_setups(
    config: Config, calibration: Calibration, setups: Mapping[str, Setup], labels: Mapping[str, Labels]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Metrics of the calibrated answers: setup -> task -> metric. Rows without a label do not count."""
    return {
        name: {
            task: measure(config.tasks[task], answers, labels[task][setup.outputs.rows])
            for task, answers in answers_of(config, calibration, setup).items()
        }
        for name, setup in setups.items()
    }
