"""Whether the classes of one question belong to those of another: a type of article to its category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from model.proposal.columns import Column, beside, plural, unusual

# Of the rows that could say otherwise, so many may.
_MOST_EXCEPTIONS = 0.005
# With fewer rows that could say otherwise, they agree by chance.
_LEAST_ROWS = 50
# Where nearly every row says the same, anything settles it.
_MOST_USUAL = 0.9


@dataclass(frozen=True)
class Found:
    """A hierarchy: its questions, finest first, and why it is one."""

    tasks: tuple[str, ...]
    reason: str


def find_hierarchies(columns: Mapping[str, Column]) -> list[Found]:
    """The longest chains of questions each of which settles the next; a question is in one of them at most.

    columns: question -> its column of classes.
    """
    settles = {
        (one, other): odd
        for one, lower in columns.items()
        for other, upper in columns.items()
        if (odd := _exceptions(lower, upper)) is not None
    }
    found: list[Found] = []
    free = set(columns)
    while True:
        # Fewer classes come first, so that what lies above a question is known before the question.
        longest: dict[str, tuple[str, ...]] = {}
        for name in sorted(free, key=lambda name: (columns[name].distinct, name)):
            above = [longest[other] for other in longest if (name, other) in settles]
            # Of two that are as long, the one whose classes are finer.
            best = max(above, key=lambda chain: (len(chain), columns[chain[0]].distinct), default=())
            longest[name] = (name, *best)
        chain = max(longest.values(), key=len, default=())
        if len(chain) < 2:
            return found
        found.append(Found(chain, _reason(chain, settles)))
        free -= set(chain)


def _reason(chain: tuple[str, ...], settles: Mapping[tuple[str, str], int]) -> str:
    steps = []
    for pair in pairwise(chain):
        often = f"but for {plural(settles[pair], 'row')}" if settles[pair] else "always"
        steps.append(f"{pair[0]} settles {pair[1]} ({often})")
    return f"{', '.join(steps)}: answers of one request are to agree"


def _exceptions(lower: Column, upper: Column) -> int | None:
    """The rows whose class of `upper` is not the usual one for that of `lower`; None where it is not settled by it."""
    if upper.distinct >= lower.distinct or max(upper.counts.values()) >= _MOST_USUAL * upper.filled:
        return None
    found = beside(lower, upper)
    odd = unusual(found)
    # The first row of a class says what belongs to it; only the others can say otherwise.
    telling = sum(counts.total() for counts in found.values()) - len(found)
    return odd if telling >= _LEAST_ROWS and odd <= _MOST_EXCEPTIONS * telling else None
