"""What a column is taken for, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Use = Literal["id", "split", "group", "image", "text", "task", "left out"]


@dataclass(frozen=True)
class Verdict:
    """One column's use and the reason, in words that a person can check.

    `task`: for use "task" the task's document: kind, and labels or separator where the kind needs them. `warnings`:
    what the person should look at.
    """

    use: Use
    reason: str
    task: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The use in a word or two."""
        return str(self.task["kind"]) if self.task else self.use


def left_out(reason: str, *warnings: str) -> Verdict:
    """A verdict of no use."""
    return Verdict("left out", reason, warnings=warnings)
