"""One `/metrics` for several processes: each tells its figures, and they are added up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.samples import Sample

# A process's metrics as JSON-able values: families of {name, help, type, samples: [[name, labels, value], ...]}.
Snapshot = list[dict[str, Any]]

_EVERYONES = ("trunkline_engine_state", "trunkline_bundle_info")  # each process tells of the same thing
_ENGINES = ("trunkline_queue_length", "trunkline_batch_limit")  # the engine knows; to the others it is hearsay


def snapshot(registry: CollectorRegistry, process: str) -> Snapshot:
    """What a registry shows now. Figures of the process itself (`process_*`) get a label with its name."""
    families: Snapshot = []
    for family in registry.collect():
        own = {"process": process} if family.name.startswith("process_") else {}
        samples = [[sample.name, {**sample.labels, **own}, sample.value] for sample in family.samples]
        families.append({"name": family.name, "help": family.documentation, "type": family.type, "samples": samples})
    return families


def of_worker(families: Snapshot) -> Snapshot:
    """Without what the engine knows better."""
    return [family for family in families if family["name"] not in _ENGINES]


def of_others(families: Snapshot) -> Snapshot:
    """Without what the process that answers tells itself."""
    return [family for family in families if family["name"] not in _EVERYONES]


def of_ended(families: Snapshot) -> Snapshot:
    """What stays true when the process has ended: what it counted."""
    counted = [family for family in families if family["type"] in ("counter", "histogram")]
    return [family for family in counted if not family["name"].startswith("process_")]


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Samples of one name and the same labels are added up; of times at which counting began, the first counts."""
    families: dict[str, dict[str, Any]] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for families_of_one in snapshots:
        for family in families_of_one:
            name = family["name"]
            families.setdefault(name, {key: family[key] for key in ("name", "help", "type")})
            merged = values.setdefault(name, {})
            for sample, labels, value in family["samples"]:
                key = sample, tuple(labels.items())
                if sample.endswith("_created"):
                    merged[key] = min(merged.get(key, value), value)
                else:
                    merged[key] = merged.get(key, 0.0) + value
    return [
        {**family, "samples": [[sample, dict(labels), value] for (sample, labels), value in values[name].items()]}
        for name, family in families.items()
    ]


def render(families: Snapshot) -> bytes:
    """Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(families))
    return generate_latest(registry)


class _Shown:
    """Families as prometheus_client collects them."""

    def __init__(self, families: Snapshot) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family["name"], family["help"], family["type"])
            metric.samples = [Sample(name, labels, value) for name, labels, value in family["samples"]]
            yield metric
