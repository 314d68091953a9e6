"""What a graph calls its ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model.bundle import Bundle
from model.config import Config


@dataclass(frozen=True)
class Names:
    """What the graph calls its ends: modality -> input, task -> output, and those that belong to neither.

    `distance` is an output where the bundle has familiarity; `rows` an input of a bundle's own graph alone, see
    `model.export.module`.
    """

    inputs: dict[str, str]
    present: str
    outputs: dict[str, str]
    alpha: str
    distance: str
    rows: str


def graph_names(config: Config) -> Names:
    """Names for a config's ends: those of the config, with `_` behind one that is taken (all must differ)."""
    used = {"present", "alpha"}

    def unused(names: Iterable[str]) -> dict[str, str]:
        chosen = {}
        for name in names:
            candidate = name
            while candidate in used:
                candidate += "_"
            used.add(candidate)
            chosen[name] = candidate
        return chosen

    # Last of all, so that no end of an older graph has another name for its sake.
    inputs, outputs = unused(config.modalities), unused(config.tasks)
    distance, rows = (unused([name])[name] for name in ("distance", "rows"))
    return Names(inputs, "present", outputs, "alpha", distance, rows)


def output_names(bundle: Bundle) -> list[str]:
    """What the outputs of a bundle's graph are called, in their order."""
    names = graph_names(bundle.config)
    return [*names.outputs.values(), names.alpha, *([names.distance] if bundle.calibration.familiarity else [])]
