"""A complete bundle with random weights, small enough to be made and loaded in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from model.bundle import load_bundle, save_bundle
from model.calibration import COVERAGES, answer_size, uncalibrated
from model.config import Config, parse_config
from model.golden import make_golden
from model.network import Network
from model.predictor import Predictor, weights_of
from model.preprocess import TextTokenizer

WORDS = "red green blue navy shirt shoe bag watch dress men women kids cotton leather sport summer winter party".split()


def tiny_document(**changes: Any) -> dict[str, Any]:
    """A config document with an image, a text and a task of every kind, labels filled in."""
    document: dict[str, Any] = {
        "name": "tiny",
        "modalities": {
            "image": {
                "kind": "image",
                "height": 16,
                "width": 12,
                "encoder": {"kind": "conv", "widths": [8, 16], "depths": [1, 1], "stem_stride": 2},
            },
            "text": {
                "kind": "text",
                "columns": ["title"],
                "max_tokens": 12,
                "vocab_size": 200,
                "encoder": {"kind": "bert", "width": 16, "layers": 1, "heads": 2, "feedforward": 32},
            },
        },
        "tasks": {
            "colour": {"kind": "multiclass", "labels": ["blue", "green", "red"]},
            "audience": {"kind": "multilabel", "separator": "|", "labels": ["kids", "men", "women"]},
            "sporty": {"kind": "binary", "labels": ["no", "yes"]},
            "price": {"kind": "regression", "scale": [20.0, 5.0]},
            "year": {"kind": "ordinal", "labels": ["2010", "2011", "2012", "2013"]},
        },
        "network": {"width": 16, "heads": 2, "shared_blocks": 1, "trunk_layers": 1, "task_width": 8},
    }
    document.update(changes)
    return document


def tiny_config(**changes: Any) -> Config:
    """`tiny_document`, validated."""
    return parse_config(tiny_document(**changes))


def make_tiny_bundle(path: Path, *, seed: int = 0, config: Config | None = None) -> Path:
    """Write a bundle with random weights to `path`; the same seed gives the same bundle."""
    config = config or tiny_config()
    torch.manual_seed(seed)
    tokenizers = {
        name: TextTokenizer.train([word for word in WORDS for _ in range(3)], modality)
        for name, modality in config.modalities.items()
        if modality.kind == "text"
    }
    count = len(config.tasks)
    relation = torch.ones(count, count) - torch.eye(count)
    network = Network(config, {name: t.vocab_size for name, t in tokenizers.items()}, relation)
    with torch.no_grad():
        # Fresh weights give nearly the same answer to everything; larger ones tell inputs apart.
        for parameter in network.parameters():
            parameter.mul_(1.5 if parameter.dim() > 1 else 1.0)
    calibration = uncalibrated(config)
    for tasks in calibration.patterns.values():
        for name, entry in tasks.items():
            if config.tasks[name].kind in ("multiclass", "ordinal", "regression"):
                entry.thresholds = [round(coverage, 4) for coverage in COVERAGES]
    for name, task in config.tasks.items():
        size = answer_size(task)
        shares = [(number + 1) / (size * (size + 1) / 2) for number in range(size)]
        calibration.priors[name] = [task.scale[0]] if task.scale else [0.25] if task.kind == "binary" else shares
    parts: dict[str, Any] = {
        "config": config,
        "weights": weights_of(network),
        "relation": relation.int().tolist(),
        "tokenizers": tokenizers,
        "calibration": calibration,
        "provenance": {"made_by": "tests", "seed": seed},
    }
    save_bundle(path, golden=[], **parts)
    bundle = load_bundle(path)
    save_bundle(path, golden=make_golden(bundle, Predictor(bundle), WORDS), **parts)
    return path
