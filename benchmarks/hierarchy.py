"""What a hierarchy does to a bundle's answers: `python -m benchmarks.hierarchy --data data/fashion --chain a,b,c`.

The bundle is calibrated twice on the validation rows, with the chain's tasks each answering by itself and with answers
that agree, and both are measured on a split for each set of inputs: how many requests are told labels that contradict
each other, and for each task accuracy, expected calibration error (15 bins) and how often sets hold the truth.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import load_bundle
from model.calibration import pattern_key
from model.config import Config
from model.coverage import measure_coverage
from model.data.dataset import load_dataset
from model.hierarchy import parents_of
from model.inference import run_patterns
from model.metrics import measure
from model.predictor import build_network
from model.recalibration import with_hierarchies
from model.reliability import confidences, reliability
from model.training.batches import BatchMaker
from model.training.calibrate import blend_all, fit_calibration

_COVERAGE = 0.9


def main() -> None:
    """Print a line for each set of inputs, without and with the hierarchy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("weights/fashion"))
    parser.add_argument("--data", type=Path, required=True, help="the data set that the bundle was trained on")
    parser.add_argument("--chain", default="articleType,subCategory,masterCategory", help="tasks, finest first")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    chain = options.chain.split(",")
    data = load_dataset(with_hierarchies(bundle.config, [chain]), options.data)
    network = build_network(bundle)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it
    outputs = {
        name: run_patterns(network, BatchMaker(data.config, data.splits[name], bundle.tokenizers))
        for name in dict.fromkeys(("val", options.split))
    }
    labels = data.splits[options.split].labels
    print(f"{options.split}: contradictions, then for each task accuracy / ECE / truth in sets of {_COVERAGE:.0%}")
    for title, config in (
        ("each by itself", data.config.model_copy(update={"hierarchies": ()})),
        ("agreeing", data.config),
    ):
        calibration = fit_calibration(config, outputs["val"], data.splits["val"].labels)
        for pattern, output in outputs[options.split].items():
            answers = blend_all(config, calibration.patterns[pattern_key(pattern)], output)
            cells = [f"{contradicting(data.config, chain, answers):5d} of {len(output.rows)}"]
            for name in chain:
                task, truth = config.tasks[name], labels[name][output.rows]
                known = truth >= 0
                p, truth = answers[name][known], truth[known]
                threshold = calibration.threshold(name, pattern, _COVERAGE)
                assert threshold is not None
                coverage = measure_coverage(task, p, truth, threshold)
                assert coverage is not None  # of multiclass tasks, which alone are in a hierarchy
                error = reliability(*confidences(task, p, truth))["ece"]
                accuracy = measure(task, p, truth)["accuracy"]
                cells.append(f"{name} {accuracy:.4f} / {error:.4f} / {coverage['covered']:.4f}")
            print(f"{' + '.join(pattern):16} {title:15}", "   ".join(cells))


def contradicting(config: Config, chain: list[str], answers: dict[str, NDArray[np.float32]]) -> int:
    """Rows in which a label does not lie in the label one level up."""
    wrong = np.zeros(len(answers[chain[0]]), np.bool_)
    for name, above in pairwise(chain):
        wrong |= parents_of(config, name, above)[answers[name].argmax(axis=1)] != answers[above].argmax(axis=1)
    return int(wrong.sum())


if __name__ == "__main__":
    main()
