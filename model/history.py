"""The history of a training as a bundle keeps it: an epoch a record, with the one score a task that is drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, TypeAdapter


class Epoch(BaseModel):
    """One epoch: the mean training loss, the score that chose the weights, and each task's score on validation data.

    `validation`: pattern -> task -> accuracy, or R² for regression; null where a pattern has no labelled row. The
    answers that were scored are the fused network's, before calibration. `minutes`: of training, until its end.
    """

    model_config = ConfigDict(extra="forbid")

    epoch: int
    loss: float | None
    score: float
    minutes: float
    validation: dict[str, dict[str, float | None]]


_EPOCHS = TypeAdapter(list[Epoch])


def to_json(epochs: Sequence[Epoch]) -> bytes:
    """A list with an epoch a line."""
    return ("[\n" + ",\n".join(json.dumps(epoch.model_dump()) for epoch in epochs) + "\n]\n").encode()


def from_json(content: bytes) -> list[Epoch]:
    """The reverse of `to_json`. Raises pydantic's ValidationError for anything else."""
    return _EPOCHS.validate_json(content)
