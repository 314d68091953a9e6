"""A proposed config trains as it stands: gaps in labels, missing pictures and texts, paragraphs, any picture size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from app.cli import cli
from model.bundle import load_bundle
from model.config import load_config, parse_config
from model.data import Dataset, load_dataset
from model.predictor import Predictor
from model.training.bundling import make_bundle
from model.training.checkpoint import Checkpoints
from model.training.trainer import Trainer
from tests.model.proposal.made import books, fashion, homes

# The proposal's inputs, questions and splits, in a network that trains in a second.
_TINY: dict[str, dict[str, Any]] = {
    "image": {
        "height": 24,
        "width": 16,
        "encoder": {"kind": "conv", "widths": [8, 16], "depths": [1, 1], "stem_stride": 2},
    },
    "text": {"vocab_size": 200, "encoder": {"kind": "bert", "width": 16, "layers": 1, "heads": 2, "feedforward": 32}},
}


class _Silent:
    """Hears the losses of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def step(self, epoch: int, done: int, total: int, loss: float, progress: float, seconds: float) -> None:
        self.losses.append(loss)

    def epoch(self, record: dict[str, Any]) -> None:
        """Not of interest here."""

    def note(self, message: str) -> None:
        """Not of interest here."""


def _proposed(table: Path, tmp_path: Path) -> Dataset:
    """Run `trunkline init`, read what it wrote as it stands, then make its network tiny and load the data."""
    out = tmp_path / "config.yaml"
    result = CliRunner().invoke(cli, ["init", str(table), "--out", str(out)])
    assert result.exit_code == 0, result.output
    load_config(out)
    document = yaml.safe_load(out.read_text(encoding="utf-8"))
    for modality in document["modalities"].values():
        modality |= _TINY[modality["kind"]]
    document["network"] = {"width": 16, "heads": 2, "trunk_layers": 1, "task_width": 8}
    document["training"] |= {"epochs": 2, "batch_size": 16, "precision": "fp32"}
    return load_dataset(parse_config(document), table.parent, cache=tmp_path / "cache")


def _books_with_commas(folder: Path) -> Path:
    return books(folder, separator=", ")


@pytest.mark.parametrize("make", [homes, books, _books_with_commas, fashion])
def test_a_proposal_trains_and_answers(make: Callable[[Path], Path], tmp_path: Path) -> None:
    dataset = _proposed(make(tmp_path / "data"), tmp_path)
    config = dataset.config
    assert all(len(split) for split in dataset.splits.values())
    reporter = _Silent()
    checkpoints = Checkpoints(tmp_path / "work", config, dataset.fingerprint)
    trained = Trainer(dataset, torch.device("cpu"), reporter, checkpoints, None).run()
    assert len(reporter.losses) >= 2  # one an epoch, at least
    assert np.isfinite(reporter.losses).all()
    make_bundle(tmp_path / "bundle", dataset, trained)
    # Every row of the test split answers every question, whatever it lacks.
    bundle = load_bundle(tmp_path / "bundle")
    test = dataset.splits["test"]
    items = []
    for row in range(len(test)):
        item: dict[str, Any] = {name: images[row] for name, images in test.images.items()}
        item |= {name: bundle.tokenizers[name](texts[row]).ids for name, texts in test.texts.items()}
        items.append({name: item[name] for name, has in zip(config.modalities, test.present[row], strict=True) if has})
    outputs = Predictor(bundle)(items)
    assert set(outputs.probabilities) == set(config.tasks)
    assert all(np.isfinite(values).all() for values in outputs.probabilities.values())


def test_what_training_sees_of_homes(tmp_path: Path) -> None:
    dataset = _proposed(homes(tmp_path / "data"), tmp_path)
    splits = dataset.splits.values()
    present = np.concatenate([split.present for split in splits])
    assert present.mean(axis=0).round(2).tolist() == [0.67, 0.67]
    assert present.any(axis=1).all()
    assert sum(int(np.isnan(split.labels["price"]).sum()) for split in splits) == 18
    assert sum(int((split.labels["furnished"] == -1).sum()) for split in splits) == 23
    agents = [{(int(id) - 7000) // 3 // 3 for id in split.ids} for split in splits]
    assert sum(map(len, agents)) == len(set.union(*agents)) == 30
    assert set(dataset.faults.counts) <= {"missing image", "empty text", "missing label"}


def test_what_training_sees_of_books(tmp_path: Path) -> None:
    dataset = _proposed(books(tmp_path / "data"), tmp_path)
    labels = np.concatenate([split.labels["genres"] for split in dataset.splits.values()])
    assert dataset.config.tasks["genres"].labels == ("crime", "fantasy", "history", "poetry", "young adult")
    assert int(np.isnan(labels).all(axis=1).sum()) == 15
    assert set(np.nansum(labels[~np.isnan(labels).any(axis=1)], axis=1)) == {1.0, 2.0, 3.0}
    assert dataset.config.tasks["rating"].labels == ("1", "2", "3", "4", "5")
