"""Which method tells inputs unlike the training data best: `python -m benchmarks.familiarity --bundle B --data PATH`.

For each modality and each method, the area under the ROC curve between a split's inputs and strange ones of each kind
(`model/unfamiliar`). Statistics are of training rows. Prints tables in Markdown. `--without BUNDLE`, the same bundle
without familiarity, compares the processor's time of their forwards in OpenVINO instead, in turns; that needs no data.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from app.serving.runtime import blank_item, run
from app.serving.runtimes.openvino import OpenVinoRuntime
from model.bundle import load_bundle
from model.data.dataset import load_dataset
from model.network import Network
from model.network.familiarity import RelativeDistance
from model.predictor import build_network
from model.reporting.familiarity import strange_split
from model.training.batches import BatchMaker
from model.training.familiarity import MOST_ROWS, collect_features, fit_distance

Values = NDArray[np.float64]
Score = Callable[[Values], Values]  # of features [n, 2 d]; the larger, the stranger

_NEIGHBOURS = 20


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="the data set that the bundle was trained on")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--task", help="whose classes are the groups of methods that need some; the one with most")
    parser.add_argument("--without", type=Path, help="the same bundle without familiarity: compare the times")
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    if options.without:
        print_times(options.bundle, options.without, options.rounds)
    elif options.data:
        print_methods(options.bundle, options.data, options.split, options.task)
    else:
        parser.error("--data or --without")


def print_methods(path: Path, data: Path, split: str, task: str | None) -> None:
    """A table a modality: a row a method, a column a kind of strange input."""
    bundle = load_bundle(path)
    config = bundle.config
    rows = load_dataset(config, data, labels_from=config, splits=("train", split)).splits
    network = build_network(bundle).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it
    makers = {name: BatchMaker(config, found, bundle.tokenizers) for name, found in rows.items()}
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows["train"]))[:MOST_ROWS])
    seen, ordinary = collect_features(network, makers["train"], chosen), collect_features(network, makers[split])
    task = task or max(
        (name for name, found in config.tasks.items() if found.kind == "multiclass"),
        key=lambda name: len(config.tasks[name].labels),
    )
    for column, name in enumerate(config.modalities):
        labels = np.asarray(rows["train"].labels[task])[chosen][rows["train"].present[chosen, column]]
        kinds, strange = strange_split(config, rows[split], name)
        other = collect_features(network, BatchMaker(config, strange, bundle.tokenizers))[name]
        titles = list(dict.fromkeys(kinds.tolist()))
        print(f"\n{name}: {len(ordinary[name])} rows of {split}, {len(kinds) // len(titles)} of each kind\n")
        print("| method | " + " | ".join(titles) + " |\n|---|" + "---:|" * len(titles))
        for method, score in methods(network, name, task, seen[name], labels):
            usual, unusual = score(ordinary[name]), score(other)
            cells = [_auroc(usual, unusual[kinds == kind]) for kind in titles]
            print(f"| {method} | " + " | ".join(f"{cell:.4f}" for cell in cells) + " |", flush=True)


def methods(
    network: Network, name: str, task: str, seen: Values, labels: NDArray[np.integer]
) -> Iterator[tuple[str, Score]]:
    """Each method, fitted to training features [n, 2 d] and the labels of the task with the most classes."""
    pooled, known = slice(network.width), labels >= 0

    def energy(values: Values) -> Values:
        with torch.inference_mode():
            raw = network.single_modality(name, torch.from_numpy(values[:, pooled]).float(), [task])[task]
        return np.asarray(-raw.logsumexp(1).double())

    def neighbour(values: Values) -> Values:
        return -np.partition(_unit(values[:, pooled]) @ _unit(seen[:, pooled]).T, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS]

    yield "energy (Liu et al., 2020)", energy
    yield f"{_NEIGHBOURS}th nearest neighbour, pooled (Sun et al., 2022)", neighbour
    for part, title in ((pooled, "pooled"), (slice(None), "pooled and mean of tokens")):
        by_class = fit_distance(seen[known, part], labels[known])
        yield f"relative, classes, {title} (Ren et al., 2021)", _by(by_class, part)
        by_class.weights.zero_()
        yield f"Mahalanobis, classes, {title} (Lee et al., 2018)", _by(by_class, part)
        yield f"relative, clusters, {title}", _by(fit_distance(seen[:, part]), part)


def _by(distance: RelativeDistance, part: slice) -> Score:
    return lambda values: np.asarray(distance(torch.from_numpy(values[:, part]).float()).double())


def _unit(values: Values) -> Values:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def _auroc(ordinary: Values, strange: Values) -> float:
    is_strange = np.repeat([0, 1], [len(ordinary), len(strange)])
    return float(roc_auc_score(is_strange, np.concatenate([ordinary, strange])))


def print_times(with_it: Path, without: Path, rounds: int) -> None:
    """The processor's time of forwards with familiarity and without, in turns: medians, of neighbours' ratio too."""
    runtimes = [OpenVinoRuntime(load_bundle(path)) for path in (with_it, without)]
    item = blank_item(load_bundle(with_it).config)
    print("| batch | with, ms | without, ms | ratio |\n|---:|---:|---:|---:|")
    for size in (1, 32):
        seconds: list[tuple[float, float]] = []
        for number in range(rounds if size == 1 else max(1, rounds // 6)):
            taken = [0.0, 0.0]
            for which in ((0, 1), (1, 0))[number % 2]:
                began = time.process_time()
                run(runtimes[which], [item] * size)
                taken[which] = time.process_time() - began
            seconds.append((taken[0], taken[1]))
        one, other = (1000 * median(column) for column in zip(*seconds, strict=True))
        ratio = median(a / b for a, b in seconds)
        print(f"| {size} | {one:.3f} | {other:.3f} | {ratio:.4f} |")


if __name__ == "__main__":
    main()
