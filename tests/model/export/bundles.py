"""Tiny bundles in which everything counts: weights that start at zero, temperatures and β are all drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.bundle import load_bundle, save_bundle
from model.calibration import Calibration, has_classes
from model.config import Config, parse_config
from model.golden import make_golden
from model.predictor import Predictor
from tests.support.tiny import WORDS, make_tiny_bundle, tiny_document


def config_with(fusion: str, *, small: bool = True, **changes: Any) -> Config:
    document = tiny_document(**changes)
    document["network"] |= {"fusion": fusion}
    if small:
        # Tracing takes time by the node, and these blocks do not depend on the fusion.
        document["network"] |= {"shared_blocks": 0, "trunk_layers": 0}
    return parse_config(document)


def awkward_names() -> dict[str, Any]:
    """Names that the graph uses for its ends, or for values inside it."""
    document = tiny_document()
    image, text = document["modalities"].values()
    colour, audience, sporty, price, year = document["tasks"].values()
    tasks = {"alpha": colour, "text": audience, "present_": sporty, "linear": price, "größe in cm": year}
    return {"modalities": {"present": image, "text": text}, "tasks": tasks}


def three_modalities() -> dict[str, Any]:
    document = tiny_document()
    image, text = document["modalities"].values()
    modalities = {"title": text, "image": image, "blurb": {**text, "columns": ["blurb"]}}
    return {"modalities": modalities, "tasks": {name: document["tasks"][name] for name in ("colour", "year")}}


CONFIGS = {
    "alpha": config_with("alpha", small=False),
    "concat": config_with("concat", **awkward_names()),
    "gated": config_with("gated", **three_modalities()),
    "cross_attention": config_with("cross_attention"),
}


def make_bundle(path: Path, config: Config, seed: int = 0) -> Path:
    make_tiny_bundle(path, seed=seed, config=config)
    bundle = load_bundle(path)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: value + 0.2 * torch.randn(value.shape, generator=generator).numpy()
        if value.dtype == np.float32 and not name.endswith((".T", "running_var"))
        else value
        for name, value in bundle.weights.items()
    }
    parts: dict[str, Any] = {
        "config": config,
        "weights": weights,
        "relation": bundle.relation,
        "tokenizers": bundle.tokenizers,
        "calibration": drawn(config, bundle.calibration, generator),
        "provenance": bundle.provenance,
    }
    save_bundle(path, golden=[], **parts)
    bundle = load_bundle(path)
    save_bundle(path, golden=make_golden(bundle, Predictor(bundle), WORDS), **parts)
    return path


def drawn(config: Config, calibration: Calibration, generator: torch.Generator) -> Calibration:
    """Temperatures between 0.5 and 2, and a β with a zero in it, other ones for each task and pattern.

    The mix of each task with classes has a temperature of its own, but in one pattern, where it is left as it is.
    """
    changed = calibration.model_copy(deep=True)
    for key, tasks in changed.patterns.items():
        for name, entry in tasks.items():
            members = list(entry.beta)
            shares = torch.rand(len(members), generator=generator)
            if len(members) > 2:
                shares[int(torch.randint(len(members), (1,), generator=generator))] = 0
            entry.beta = dict(zip(members, (shares / shares.sum()).tolist(), strict=True))
            entry.temperatures = {m: 0.5 + 1.5 * float(torch.rand(1, generator=generator)) for m in members}
            level, slope = torch.randn(2, generator=generator).tolist()
            if has_classes(config.tasks[name]) and key != next(iter(config.modalities)):
                entry.mix_temperature = (0.5 * level, 0.5 * slope)
    return changed
