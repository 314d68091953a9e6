"""The config of production size, and the same made small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).resolve().parents[2] / "configs" / "production.yaml"


def production(**training: Any) -> dict[str, Any]:
    """The document with random weights, which nothing is fetched for."""
    document: dict[str, Any] = yaml.safe_load(SOURCE.read_text())
    for modality in document["modalities"].values():
        modality["encoder"]["pretrained"] = False
    document["training"] |= training
    return document


def small_production(**training: Any) -> dict[str, Any]:
    """The same backbones with a few narrow layers, at 64 pixels."""
    document = production(**training)
    image, text = document["modalities"].values()
    image |= {"height": 64, "width": 64}
    image["encoder"]["arguments"] = {"depths": [1, 1, 2, 1], "dims": [8, 8, 16, 16]}
    text["vocab_size"] = 100
    text["encoder"]["arguments"] = {
        "hidden_size": 16,
        "num_hidden_layers": 5,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    document["network"] |= {"width": 16, "heads": 2, "task_width": 8}
    return document
