"""Small networks over the whole registry of choices, and batches for them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.config import Config
from model.network import Network
from model.preprocess import Item, collate
from tests.support.tiny import tiny_config, tiny_document

FUSIONS = ("alpha", "concat", "gated", "cross_attention")
MODALITIES = (("image",), ("text",), ("image", "text", "brand"))
VOCABULARY = 40


def config_of(
    fusion: str = "alpha", blocks: int = 1, modalities: Sequence[str] = ("image", "text"), **changes: Any
) -> Config:
    """The tiny config with other choices; modality names other than `image` are texts."""
    base = tiny_document()
    parts = {name: base["modalities"]["image" if name == "image" else "text"] for name in modalities}
    network = base["network"] | {"fusion": fusion, "shared_blocks": blocks}
    return tiny_config(modalities=parts, network=network, **changes)


def network_of(config: Config, relation: Tensor | None = None, seed: int = 0) -> Network:
    """A network in eval mode in which nothing is at its starting value: gates open, statistics moved, U apart."""
    torch.manual_seed(seed)
    sizes = {name: VOCABULARY for name, modality in config.modalities.items() if modality.kind == "text"}
    network = Network(config, sizes, relation)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.3)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return network.eval()


def item_of(config: Config, pattern: Sequence[str], generator: np.random.Generator) -> Item:
    """One sample that has the modalities of a pattern; texts of any length."""
    item: dict[str, np.ndarray] = {}
    for name in pattern:
        modality = config.modalities[name]
        if modality.kind == "image":
            item[name] = generator.integers(0, 256, (modality.height, modality.width, 3), dtype=np.uint8)
        else:
            length = int(generator.integers(1, modality.max_tokens + 1))
            item[name] = generator.integers(1, VOCABULARY, length, dtype=np.int64)
    return item


def patterns(config: Config) -> list[tuple[str, ...]]:
    """Every non-empty set of modalities, in the order of the config."""
    names = list(config.modalities)
    return [p for size in range(1, len(names) + 1) for p in itertools.combinations(names, size)]


def tensors(items: Sequence[Item], config: Config) -> tuple[dict[str, Tensor], Tensor]:
    """Items side by side as the network takes them: inputs and present."""
    batch = collate(items, config)
    return {name: torch.from_numpy(values) for name, values in batch.inputs.items()}, torch.from_numpy(batch.present)


def related(count: int, *pairs: tuple[int, int]) -> Tensor:
    """T [count, count] with ones at the given (k, j)."""
    relation = torch.zeros(count, count)
    for k, j in pairs:
        relation[k, j] = 1
    return relation
