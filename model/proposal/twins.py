"""Questions that repeat or settle one another."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations

from model.proposal.columns import Column, beside, plural, unusual

_MOST_EXCEPTIONS = 0.01


def find_twins(columns: Sequence[Column]) -> dict[str, str]:
    """Columns that say the same as another, value for value (a code and its name), and the reason to leave them out."""
    found: dict[str, str] = {}
    for one, other in combinations(columns, 2):
        if one.name in found or other.name in found or one.distinct != other.distinct:
            continue
        if one.distinct > one.filled / 2 and one.values != other.values:
            continue  # two quantities of which each value occurs once pair up by chance
        if _pairs(one, other) == one.distinct and _same_gaps(one, other):
            # Of a code and its name, the name is the better answer.
            twin, kept = (one, other) if one.numbers and not other.numbers else (other, one)
            found[twin.name] = f"says the same as {kept.name}, value for value"
    return found


def find_settled(columns: Sequence[Column], told: Collection[frozenset[str]] = ()) -> list[str]:
    """A note for each question whose answer settles another's (nearly) everywhere, less those in a hierarchy of `told`.

    `told`: the names of columns that go together.
    """
    notes = []
    for one in columns:
        if one.distinct > one.filled / 5:
            continue
        settled = []
        for other in columns:
            usual = max(other.counts.values()) / other.filled
            together = any({one.name, other.name} <= names for names in told)
            if other.distinct < one.distinct and usual < 0.9 and not together:
                odd = _exceptions(one, other)
                if odd <= _MOST_EXCEPTIONS * one.filled:
                    often = f"but for {plural(odd, 'row')}" if odd else "always"
                    settled.append(f"{other.name} ({often})")
        if settled:
            notes.append(f"{one.name} settles {', '.join(settled)}: a hierarchy of classes, not independent questions")
    return notes


def _exceptions(one: Column, other: Column) -> int:
    """The rows whose value of `other` is not the usual one for their value of `one`."""
    return unusual(beside(one, other))


def _pairs(one: Column, other: Column) -> int:
    """How many combinations of two values there are."""
    return len({pair for pair in zip(one.values, other.values, strict=True) if all(pair)})


def _same_gaps(one: Column, other: Column) -> bool:
    apart = sum(bool(a) != bool(b) for a, b in zip(one.values, other.values, strict=True))
    return apart <= 0.05 * one.rows
