"""Bundles made on the fly: a config's network with random weights, as large as the real thing and as meaningless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from model.bundle import load_bundle, save_bundle
from model.calibration import uncalibrated
from model.config import Config, TextModality, parse_config
from model.golden import make_golden
from model.network import Network
from model.network.encoders import resolve_encoders
from model.predictor import Predictor, weights_of
from model.preprocess import TextTokenizer, normalise_text

_LABELS = 100


def make_bundle(path: Path, source: Path, texts: list[str], seed: int = 0) -> Path:
    """Write a bundle of the config in `source`; its tokenizers are trained on `texts`."""
    config = _labelled(source)
    torch.manual_seed(seed)
    tokenizers = {
        name: TextTokenizer.train([normalise_text(text) for text in texts], modality)
        for name, modality in config.modalities.items()
        if isinstance(modality, TextModality)
    }
    count = len(config.tasks)
    relation = torch.zeros(count, count)
    relation[0, 1:] = 1
    network = Network(config, {name: t.vocab_size for name, t in tokenizers.items()}, relation)
    for module in network.modules():
        # Blocks start as the identity, with zeros, on which hardware can be faster than on any trained weights.
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.constant_(module.weight, 0.3)
    parts: dict[str, Any] = {
        "config": config,
        "weights": weights_of(network),
        "relation": relation.int().tolist(),
        "tokenizers": tokenizers,
        "calibration": uncalibrated(config),
        "provenance": {"made_by": "benchmarks", "seed": seed},
    }
    save_bundle(path, golden=[], **parts)
    bundle = load_bundle(path)
    save_bundle(path, golden=make_golden(bundle, Predictor(bundle), texts[0].split()), **parts)
    return path


def _labelled(source: Path) -> Config:
    document = yaml.safe_load(source.read_text(encoding="utf-8"))
    for modality in document["modalities"].values():
        if modality["encoder"]["kind"] in ("timm", "transformers"):
            modality["encoder"]["pretrained"] = False
    for task in document["tasks"].values():
        if task["kind"] in ("multiclass", "multilabel") and not task.get("labels"):
            task["labels"] = [f"label {number}" for number in range(_LABELS)]
    return resolve_encoders(parse_config(document, str(source)))
