"""Checkpoints of a training run: whole or not there, and read without unpickling code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from model.bundle import write_atomically
from model.config import Config

_STATE, _HISTORY = "checkpoint.pt", "history.json"


class ResumeError(ValueError):
    """A checkpoint that does not belong to this run; the message says what to do."""


class Checkpoints:
    """One run's folder: the last finished epoch and the history of all."""

    def __init__(self, folder: Path, config: Config, fingerprint: str) -> None:
        self.folder = folder
        self._identity = {
            # Not sorted: the order of tasks and modalities is that of the weights.
            "config": json.dumps(config.model_dump(mode="json")),
            "data": fingerprint,
        }
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: dict[str, Any], history: list[dict[str, Any]]) -> None:
        """Replace the checkpoint; a run killed in here finds the previous one."""
        temporary = self.folder / (_STATE + ".part")
        torch.save({**state, "identity": self._identity}, temporary)
        temporary.replace(self.folder / _STATE)
        write_atomically(self.folder / _HISTORY, json.dumps(history, indent=1).encode())

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The last checkpoint, or None at the start of a run. Raises ResumeError when it is of another run."""
        path = self.folder / _STATE
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        except Exception:  # torch raises many kinds for a damaged file, with advice that does not fit here
            raise ResumeError(f"{path}: damaged, or not a checkpoint; start anew with --restart") from None
        for what, value in self._identity.items():
            if state.get("identity", {}).get(what) != value:
                raise ResumeError(
                    f"{path}: was made with another {what}; start anew with --restart, or give another --out"
                )
        return state

    def clear(self) -> None:
        """Forget the run."""
        for name in (_STATE, _HISTORY):
            (self.folder / name).unlink(missing_ok=True)
