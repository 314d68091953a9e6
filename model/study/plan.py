"""Which runs a study is made of, and where the result of each lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.bundle import write_atomically
from model.config import Config, ConfigError, parse_config
from model.study.variants import Variant, patched

# Results of another version of this program's ways to train and measure are made anew.
_FORMAT = 1


@dataclass(frozen=True)
class Share:
    """A share of the training data, and how it is trained on: seeds 0, 1, …, and epochs."""

    fraction: float
    seeds: int
    epochs: int

    @property
    def title(self) -> str:
        """Such as "5 %"."""
        return f"{self.fraction * 100:g} %"


@dataclass(frozen=True)
class Run:
    """One training, or one baseline: what it is made from, which `key` names.

    `variant` is the first that asked for it: others with the same config share it.
    """

    variant: str
    method: str
    config: Config
    fraction: float
    seed: int
    key: str

    def path(self, out: Path) -> Path:
        """Where its result lies."""
        return out / "runs" / f"{self.key}.json"

    def result(self, out: Path) -> dict[str, Any] | None:
        """Its result, None while there is none."""
        try:
            found: dict[str, Any] = json.loads(self.path(out).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    def save(self, out: Path, result: dict[str, Any]) -> None:
        """Write the result, whole or not at all."""
        path = self.path(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"variant": self.variant, "fraction": self.fraction, "seed": self.seed}
        write_atomically(path, (json.dumps(head | result, indent=1) + "\n").encode())


@dataclass
class Plan:
    """The runs of a study: of each variant and share, one a seed; several for a network a task.

    `config`: the base, its labels filled in; `left_out`: variants that the base has no use for, and why.
    """

    config: Config
    variants: list[Variant]
    shares: list[Share]
    left_out: dict[str, str]
    fingerprint: str

    def runs(self, variant: Variant, share: Share, seed: int) -> list[Run]:
        """The runs that a variant's line is made from."""
        document = patched(self.config.model_dump(mode="json"), variant.patch)
        document["training"] |= {"seed": seed, "epochs": share.epochs, "patience": share.epochs}
        if variant.method != "network_per_task":
            return [self._run(variant, document, share, seed)]
        # A task by itself has no hierarchy, and no class above its own.
        document["hierarchies"] = []
        return [
            self._run(variant, document | {"tasks": {name: {**task, "parents": {}}}}, share, seed)
            for name, task in document["tasks"].items()
        ]

    def _run(self, variant: Variant, document: dict[str, Any], share: Share, seed: int) -> Run:
        config = parse_config(document, f"variant {variant.name}")
        method = "network" if variant.method == "network_per_task" else variant.method
        if method != "network" and share.fraction == 1:
            seed = 0  # all rows and nothing drawn: one run is that of every seed
        identity = {
            "format": _FORMAT,
            "method": method,
            "config": config.model_dump(mode="json") if method == "network" else sorted(config.tasks),
            "data": self.fingerprint,
            "fraction": share.fraction,
            "seed": seed,
        }
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:20]
        return Run(variant.name, method, config, share.fraction, seed, key)

    def all(self) -> Iterator[Run]:
        """Every run once: small shares first, and all variants of a seed before the next seed."""
        seen: set[str] = set()
        for share in self.shares:
            for seed in range(share.seeds):
                for variant in self.variants:
                    for run in self.runs(variant, share, seed):
                        if run.key not in seen:
                            seen.add(run.key)
                            yield run


def make_plan(config: Config, variants: Sequence[Variant], shares: Sequence[Share], fingerprint: str) -> Plan:
    """A plan without the variants that the base config has no use for.

    `fingerprint` says what data is measured, and how.
    """
    used, left_out = [], {}
    for variant in variants:
        try:
            result = parse_config(patched(config.model_dump(mode="json"), variant.patch))
        except ConfigError as error:
            left_out[variant.name] = str(error).splitlines()[-1].strip()
            continue
        if variant.method == "tfidf" and not any(modality.kind == "text" for modality in result.modalities.values()):
            left_out[variant.name] = "there is no text"
        else:
            used.append(variant)
    return Plan(config, used, list(shares), left_out, fingerprint)
