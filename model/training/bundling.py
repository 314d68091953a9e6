"""From a trained network to a bundle: calibrated, with golden cases, written and read back."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.bundle import Bundle, load_bundle, save_bundle
from model.config import Config, Task, TextModality
from model.data.dataset import Dataset
from model.export.bundle_graph import write_graph
from model.export.errors import ExportError
from model.golden import check_golden, make_golden
from model.golden_case import GoldenCase
from model.history import Epoch
from model.inference import run_patterns
from model.metrics import score
from model.predictor import Predictor, weights_of
from model.training.batches import BatchMaker
from model.training.calibrate import fit_calibration, fit_priors
from model.training.familiarity import fit_familiarity
from model.training.trainer import Trained


def make_bundle(path: Path, dataset: Dataset, trained: Trained, history: Sequence[Epoch] | None = None) -> Bundle:
    """Calibrate on the validation split, fit familiarity, write the bundle, and check it as a server would.

    Priors are of the training split. `history`: of the training as an earlier bundle kept it, where there was none now.
    """
    config = dataset.config
    split = dataset.splits["val"]
    train, val = (BatchMaker(config, dataset.splits[name], trained.tokenizers) for name in ("train", "val"))
    calibration = fit_calibration(config, run_patterns(trained.network, val), split.labels)
    calibration.priors = fit_priors(config, dataset.splits["train"].labels)
    calibration.familiarity = fit_familiarity(trained.network, train, val)

    def save(golden: list[GoldenCase]) -> Bundle:
        save_bundle(
            path,
            config=config,
            weights=weights_of(trained.network),
            relation=trained.relation,
            tokenizers=trained.tokenizers,
            calibration=calibration,
            golden=golden,
            provenance=trained.provenance,
            history=epochs_of(trained.history, config.tasks) if history is None else history,
        )
        return load_bundle(path)

    # The cases are recorded from the files as they are read back, not from the network in memory.
    draft = save([])
    bundle = save(make_golden(draft, Predictor(draft), _common_words(config, dataset)))
    check_golden(bundle, Predictor(bundle))
    return bundle


def give_graph(bundle: Bundle) -> str | None:
    """Put a graph into a bundle. Where its network cannot be expressed as one, it stays as it was; returns why."""
    try:
        write_graph(bundle)
    except ExportError as error:
        return str(error)
    return None


def epochs_of(records: Iterable[Mapping[str, Any]], tasks: Mapping[str, Task]) -> list[Epoch]:
    """A run's records, as `trainer.Reporter` hears them, for the bundle."""
    return [
        Epoch(
            epoch=record["epoch"],
            loss=round(record["loss"], 5) if math.isfinite(record["loss"]) else None,
            score=round(record["score"], 5),
            minutes=round(record["seconds"] / 60, 2),
            validation={
                pattern: {
                    name: round(score(tasks[name], metrics), 4) if metrics["count"] else None
                    for name, metrics in found.items()
                }
                for pattern, found in record["metrics"].items()
            },
        )
        for record in records
    ]


def _common_words(config: Config, dataset: Dataset, count: int = 200) -> list[str]:
    """Frequent words of the training texts, to make up texts from."""
    words: Counter[str] = Counter()
    for name, modality in config.modalities.items():
        if isinstance(modality, TextModality):
            for text in dataset.splits["train"].texts[name]:
                words.update(text.split())
    return [word for word, _ in words.most_common(count)]
