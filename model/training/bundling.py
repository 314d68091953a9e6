"""From a trained network to a bundle: calibrated, with golden cases, written and read back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from model.bundle import Bundle, load_bundle, save_bundle
from model.config import Config, TextModality
from model.data.dataset import Dataset
from model.export.bundle_graph import write_graph
from model.export.errors import ExportError
from model.golden import check_golden, make_golden
from model.golden_case import GoldenCase
from model.inference import run_patterns
from model.predictor import Predictor, weights_of
from model.training.batches import BatchMaker
from model.training.calibrate import fit_calibration
from model.training.trainer import Trained


def make_bundle(path: Path, dataset: Dataset, trained: Trained) -> Bundle:
    """Calibrate on the validation split, write the bundle, and check what was written as a server would."""
    config = dataset.config
    split = dataset.splits["val"]
    outputs = run_patterns(trained.network, BatchMaker(config, split, trained.tokenizers))
    calibration = fit_calibration(config, outputs, split.labels)

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


def _common_words(config: Config, dataset: Dataset, count: int = 200) -> list[str]:
    """Frequent words of the training texts, to make up texts from."""
    words: Counter[str] = Counter()
    for name, modality in config.modalities.items():
        if isinstance(modality, TextModality):
            for text in dataset.splits["train"].texts[name]:
                words.update(text.split())
    return [word for word, _ in words.most_common(count)]
