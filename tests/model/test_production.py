"""The config of production size: built with random weights, trained for a step, saved, loaded, asked."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model.bundle import load_bundle
from model.config import load_config, parse_config
from model.data.dataset import load_dataset
from model.golden import check_golden, prepare
from model.network.encoders import build_encoder, resolve_encoders
from model.predictor import Predictor
from model.training.bundling import make_bundle
from model.training.checkpoint import Checkpoints
from model.training.trainer import Trainer
from tests.support.production import SOURCE, production, small_production


class Silent:
    def step(self, *_: Any) -> None: ...

    def epoch(self, *_: Any) -> None: ...

    def note(self, *_: Any) -> None: ...


def make_shop(folder: Path, size: int) -> Path:
    """Pictures of noise and made-up titles, with a column for every task of the config."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(28):
        colour, kind = ("red", "blue")[number % 2], ("shirt", "shoe")[number // 2 % 2]
        pixels = generator.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.jpg")
        split = "train" if number < 20 else "val"
        rows.append([number, f"{colour} {kind} {number}", kind, kind, colour, kind, "men|women", colour, split])
    columns = ["id", "title", "category", "brand", "colour", "style", "audience", "season", "split"]
    with (folder / "styles.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return folder


def live(document: dict[str, Any], folder: Path, size: int) -> dict[str, np.ndarray]:
    """A whole life: what the bundle that is read back answers to its golden inputs."""
    config = resolve_encoders(parse_config(document))
    dataset = load_dataset(config, make_shop(folder / "shop", size), cache=folder / "cache")
    checkpoints = Checkpoints(folder / "run", dataset.config, dataset.fingerprint)
    trainer = Trainer(dataset, torch.device("cpu"), Silent(), checkpoints, minutes=None)
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    trained = trainer.run()
    moved = {name for name, value in trained.network.named_parameters() if not torch.equal(value, before[name])}
    assert not [name for name in moved if ".embeddings." in name or ".layer.3." in name], "four layers are frozen"
    assert [name for name in moved if ".layer.4." in name]
    assert [name for name in moved if ".stem." in name]
    make_bundle(folder / "bundle", dataset, trained)
    bundle = load_bundle(folder / "bundle")
    predictor = Predictor(bundle)
    check_golden(bundle, predictor)
    items = [prepare(case.raw(), bundle.config, bundle.tokenizers) for case in bundle.golden]
    return predictor(items).probabilities


STEP = {"epochs": 1, "batch_size": 20, "precision": "fp32"}


def test_the_config_is_of_production_size() -> None:
    """Counted on the meta device, where nothing has weights."""
    config = load_config(SOURCE)
    image, text = config.modalities.values()
    assert (image.height, image.width, image.encoder.kind, text.encoder.kind) == (224, 224, "timm", "transformers")
    assert image.encoder.pretrained
    assert text.encoder.pretrained
    resolved = resolve_encoders(parse_config(production()))
    with torch.device("meta"):
        encoders = [build_encoder(modality, 30_000) for modality in resolved.modalities.values()]
    parts = [sum(parameter.numel() for parameter in encoder.parameters()) / 1e6 for encoder in encoders]
    assert 25 < parts[0] < 30, "ConvNeXt-Tiny"
    assert 100 < parts[1] < 115, "BERT-base"


def test_it_lives_with_random_weights(tmp_path: Path) -> None:
    answers = live(small_production(**STEP), tmp_path, 64)
    assert {name: values.shape for name, values in answers.items()}["category"] == (3, 2)
    assert all(np.isfinite(values).all() for values in answers.values())


@pytest.mark.slow
def test_it_lives_at_full_size(tmp_path: Path) -> None:
    answers = live(production(**STEP | {"batch_size": 4}), tmp_path, 240)
    assert all(np.isfinite(values).all() for values in answers.values())
