"""One column of a table and what can be counted in it."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property

from model.data.labels import MISSING

_NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# "007" and "02139" are codes: read as numbers they would lose what tells them apart.
_CODE = re.compile(r"[+-]?0\d")
# So many of the values must be numbers; the others are told of and count as missing.
_NUMERIC_SHARE = 0.95


class Column:
    """A column's name and its values by row, stripped; a spelling of "no value" is ""."""

    def __init__(self, name: str, values: Sequence[str]) -> None:
        self.name = name
        stripped = (value.strip() for value in values)
        self.values = ["" if value.lower() in MISSING else value for value in stripped]

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The name's words in lower case: productDisplayName is product, display, name."""
        return tuple(word.lower() for word in _NAME_PART.findall(self.name))

    @cached_property
    def counts(self) -> Counter[str]:
        """Each value that is there, and its rows."""
        return Counter(value for value in self.values if value)

    @property
    def rows(self) -> int:
        """All rows."""
        return len(self.values)

    @cached_property
    def filled(self) -> int:
        """The rows that have a value."""
        return self.counts.total()

    @property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(self.counts)

    @property
    def variety(self) -> float:
        """Different values per filled row: 1 where every row has its own."""
        return self.distinct / self.filled if self.filled else 0.0

    @property
    def unique(self) -> bool:
        """Every row has a value of its own."""
        return self.distinct == self.rows

    @cached_property
    def numbers(self) -> dict[str, float] | None:
        """The values that are numbers, if nearly all are."""
        found = {value: number for value in self.counts if (number := as_number(value)) is not None}
        share = sum(self.counts[value] for value in found) / max(1, self.filled)
        return found if found and share >= _NUMERIC_SHARE else None

    @cached_property
    def mean_words(self) -> float:
        """Words in a value, on average over the rows."""
        return sum(len(value.split()) * rows for value, rows in self.counts.items()) / max(1, self.filled)

    def share(self, pattern: re.Pattern[str]) -> float:
        """The share of filled rows whose whole value matches."""
        return sum(rows for value, rows in self.counts.items() if pattern.fullmatch(value)) / max(1, self.filled)


def as_number(value: str) -> float | None:
    """The finite number that a value is, or None; codes with leading zeros are none."""
    if _CODE.match(value):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in value else None


def beside(one: Column, other: Column) -> dict[str, Counter[str]]:
    """How often each value of `other` stands beside each of `one`, where both are filled."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for value, asked in zip(one.values, other.values, strict=True):
        if value and asked:
            found[value][asked] += 1
    return found


def unusual(found: Mapping[str, Counter[str]]) -> int:
    """Of what stands beside each value, the rows in which it is not what does so most often."""
    return sum(counts.total() - max(counts.values()) for counts in found.values())


def plural(count: int, noun: str) -> str:
    """`1 row`, `2,345 rows`, `3 classes`."""
    if count != 1:
        noun += "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}"


def printable(text: str) -> str:
    """The text without control characters, which a terminal would obey and YAML refuses; line breaks stay."""
    return "".join(character if character.isprintable() or character == "\n" else " " for character in text)


def quoted(value: str, longest: int = 32) -> str:
    """A value as it stands in a sentence."""
    flat = " ".join(printable(value).split())
    return f"'{flat if len(flat) <= longest else flat[: longest - 1] + '…'}'"
