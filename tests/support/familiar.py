"""A tiny bundle that has familiarity, fitted to made inputs: random weights tell those from strange ones, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import load_bundle, save_bundle
from model.config import Config, ImageModality
from model.data.dataset import Split
from model.export.bundle_graph import write_graph
from model.predictor import build_network, weights_of
from model.training.batches import BatchMaker
from model.training.familiarity import fit_familiarity
from tests.support.tiny import WORDS, make_tiny_bundle


def made_split(config: Config, rows: int, seed: int) -> Split:
    """Pictures of one coloured bar on white, texts of some known words; every row has every modality."""
    generator = np.random.default_rng(seed)
    images: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    for name, modality in config.modalities.items():
        if isinstance(modality, ImageModality):
            pictures = generator.integers(245, 256, (rows, modality.height, modality.width, 3), dtype=np.uint8)
            for picture, top, colour in zip(
                pictures, generator.integers(1, 8, rows), generator.integers(0, 200, (rows, 3)), strict=True
            ):
                picture[top : top + 6, 2:-2] = colour
            images[name] = pictures
        else:
            texts[name] = [" ".join(generator.choice(WORDS, generator.integers(2, 7))) for _ in range(rows)]
    present = np.ones((rows, len(config.modalities)), dtype=np.bool_)
    return Split([str(row) for row in range(rows)], images, texts, present, {})


def make_familiar_bundle(path: Path, *, config: Config | None = None, graph: bool = False) -> Path:
    """Write such a bundle to `path`."""
    bundle = load_bundle(make_tiny_bundle(path, config=config))
    network = build_network(bundle)
    train, val = (
        BatchMaker(bundle.config, made_split(bundle.config, rows, seed), bundle.tokenizers)
        for rows, seed in ((300, 1), (400, 2))
    )
    curves = fit_familiarity(network, train, val)
    save_bundle(
        path,
        config=bundle.config,
        weights=weights_of(network),
        relation=bundle.relation,
        tokenizers=bundle.tokenizers,
        calibration=bundle.calibration.model_copy(update={"familiarity": curves}),
        golden=bundle.golden,
        provenance=bundle.provenance,
    )
    if graph:
        write_graph(load_bundle(path))
    return path
