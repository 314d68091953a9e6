"""What is wrong with a data set: counted by kind, with examples that name the row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Every kind of fault that loading survives, with what was done about it and what the user can do.
KINDS = {
    "malformed row": "left out; quote fields that hold commas or quotes, and give each row every column",
    "undecodable text": "replaced by U+FFFD; save the table as UTF-8",
    "empty id": "row left out; give every row an id",
    "duplicate id": "first row kept, later ones left out; make ids unique",
    "unknown split": "row left out; write train, val or test",
    "no validation rows": "drawn from the train rows; mark rows with val to choose them yourself",
    "missing image": "row kept without it; add the file",
    "corrupt image": "row kept without it; replace the file",
    "empty text": "row kept without it; fill in the column",
    "nothing to read": "row left out: no modality of it is usable",
    "missing label": "row kept, not used for that task; fill in the column",
    "not a number": "counts as a missing label; write a plain number",
    "unknown label": "counts as a missing label; correct the value or extend the config",
    "class seen once": "kept, but the class cannot be learnt from one row; add rows or merge the class",
    "class never seen": "kept, but no training row has it; add rows or drop the class",
    "against the hierarchy": "row kept; the class above that most rows have is answered, so correct the others",
    "class without a place": "never answered, since no class is above or below it; correct rows, or drop the hierarchy",
}
# What a file can list without becoming a burden; a terminal is shown the first few.
_EXAMPLES = 10_000
_SHOWN = 3


class DataError(ValueError):
    """Data that cannot be used; the message says which file, row or column is wrong and what to do."""


@dataclass(frozen=True)
class Example:
    """One occurrence: the line in the table (1 is the header; 0 when no single line is to blame) and the row's id."""

    line: int
    id: str
    message: str


@dataclass
class Faults:
    """Counts by kind (a key of KINDS), with the first 10,000 occurrences of each."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[Example]] = field(default_factory=dict)

    def add(self, kind: str, message: str, *, line: int = 0, id: str = "") -> None:
        """Count one fault. Raises KeyError for a kind that is not in KINDS."""
        if kind not in KINDS:
            raise KeyError(kind)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        listed = self.examples.setdefault(kind, [])
        if len(listed) < _EXAMPLES:
            listed.append(Example(line, id, message))

    def __len__(self) -> int:
        """All faults of all kinds."""
        return sum(self.counts.values())

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: kind -> {count, advice, examples: [{line, id, message}]}, in the order of KINDS."""
        return {
            kind: {
                "count": self.counts[kind],
                "advice": advice,
                "examples": [vars(example) for example in self.examples[kind]],
            }
            for kind, advice in KINDS.items()
            if kind in self.counts
        }

    def render(self) -> str:
        """The faults as plain text for a terminal; "" when there are none."""
        lines = []
        for kind, advice in KINDS.items():
            if kind not in self.counts:
                continue
            lines.append(f"{kind}: {self.counts[kind]} ({advice})")
            shown = self.examples[kind][:_SHOWN]
            for example in shown:
                where = f"line {example.line}" if example.line else ""
                where += f" (id {example.id})" if example.id else ""
                lines.append(f"  {where}: {example.message}" if where else f"  {example.message}")
            if self.counts[kind] > len(shown):
                lines.append(f"  and {self.counts[kind] - len(shown)} more")
        return "\n".join(lines)
