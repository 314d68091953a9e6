"""Rows that belong together, so that no test row has a twin among the training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from model.config import DataConfig
from model.data.faults import DataError
from model.data.split import SPLITS, group, split_by_group, split_name
from model.preprocess import normalise_text
from model.proposal.columns import Column, plural, quoted
from model.proposal.verdict import Verdict, left_out

# A text in more rows than this, and than one row in 20, is hardly a description of each.
_STANDING = 5


def judge_split(columns: Sequence[Column]) -> tuple[str, Verdict] | None:
    """The column that says which row is for training, if there is one."""
    for column in columns:
        named = {split_name(value) for value in column.counts}
        # A column of another name with just these values cannot be meant otherwise.
        if not column.filled or None in named or "train" not in named or len(named) < 2:
            continue
        counts = {
            name: sum(rows for value, rows in column.counts.items() if split_name(value) == name) for name in SPLITS
        }
        reason = ", ".join(f"{name} {rows:,}" for name, rows in counts.items())
        warnings = []
        if not counts["val"]:
            warnings.append("no val rows: training draws them from the train rows, look-alikes together")
        if column.filled < column.rows:
            warnings.append(f"{plural(column.rows - column.filled, 'row')} without a split are left out")
        return column.name, Verdict("split", reason, warnings=tuple(warnings))
    return None


@dataclass
class Division:
    """How rows come to their splits: `groups` for the config, verdicts of group columns, and what was noticed."""

    groups: list[str] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def text_keys(texts: Sequence[Column]) -> list[Hashable | None]:
    """Each row's whole text as the data set compares it; None where there is none."""
    joined = (" ".join(parts) for parts in zip(*(column.values for column in texts), strict=True))
    return [normalise_text(text).casefold() or None for text in joined]


def follow_split(split: Column, texts: Sequence[Column], grouping: Sequence[Column]) -> Division:
    """What the table's own division does with rows that belong together."""
    division = Division()
    home = [split_name(value) for value in split.values]
    for column in grouping:
        crossing = _crossing(column.values, home)
        said = "no group crosses a split" if not crossing else f"{plural(crossing, 'group')} in more than one split"
        division.verdicts[column.name] = left_out(f"ties rows, but column {split.name} already divides them: {said}")
        if crossing:
            division.notes.append(
                f"leakage: {plural(crossing, 'value')} of {column.name} in more than one split; give "
                f"split: null and groups: [{column.name}] to divide anew"
            )
    if texts:
        keys = text_keys(texts)
        crossing = _crossing(keys, home)
        if crossing:
            taught = {key for key, name in zip(keys, home, strict=True) if name == "train"}
            asked = [key for key, name in zip(keys, home, strict=True) if name in ("val", "test") and key]
            known = sum(key in taught for key in asked)
            division.notes.append(
                f"leakage: {known:,} of {plural(len(asked), 'row')} of val and test have the text of a train row; give "
                "split: null to have rows divided anew, with the same text together"
            )
        else:
            division.notes.append("no text stands in more than one split")
    return division


def divide(rows: int, texts: Sequence[Column], grouping: Sequence[Column]) -> Division:
    """The columns that keep rows together, tried out as training will divide them (but for the pixels)."""
    division = Division()
    keys: list[Sequence[Hashable | None]] = []
    if texts:
        keys.append(text_keys(texts))
        shared = rows - sum(len(members) == 1 for members in group(rows, keys))
        if shared:
            division.notes.append(
                f"{plural(shared, 'row')} ({shared / rows:.0%}) share their text with another; such rows stay in one "
                "split"
            )
        text, times = Counter(key for key in keys[0] if key is not None).most_common(1)[0]
        if times > max(_STANDING, rows / 20):
            division.notes.append(
                f"the text {quoted(str(text))} stands in {plural(times, 'row')}, which all go to one split; empty it "
                "if it only stands for a missing text"
            )
    for column in grouping:
        tried = [*keys, [value or None for value in column.values]]
        largest = max(map(len, group(rows, tried)))
        if largest > rows / 2:
            division.verdicts[column.name] = left_out(
                f"would tie {plural(largest, 'row')} into one group: too many to divide"
            )
            continue
        keys = tried
        division.groups.append(column.name)
        tied = column.filled - sum(rows == 1 for rows in column.counts.values())
        division.verdicts[column.name] = Verdict(
            "group", f"{plural(column.distinct, 'value')} tie {plural(tied, 'row')}: rows of one stay in one split"
        )
    config = DataConfig()
    try:
        sizes = split_by_group(group(rows, keys), config, seed=0)
    except DataError as error:
        division.notes.append(f"no split column, and rows cannot be divided: {error}")
    else:
        shown = ", ".join(f"{name} about {len(members):,}" for name, members in sizes.items())
        division.notes.append(
            f"no split column: rows are divided at random, what belongs together stays together: {shown}"
        )
    return division


def _crossing(keys: Sequence[Hashable | None], home: Sequence[str | None]) -> int:
    """How many keys stand in more than one split."""
    homes: dict[Hashable, set[str]] = {}
    for key, split in zip(keys, home, strict=True):
        if key and split:
            homes.setdefault(key, set()).add(split)
    return sum(len(found) > 1 for found in homes.values())
