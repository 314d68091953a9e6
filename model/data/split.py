"""Which split a row belongs to: what the table says, or a division that keeps look-alike rows together."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Sequence

from model.config import DataConfig
from model.data.faults import DataError, Faults
from model.data.table import Row

SPLITS = ("train", "val", "test")
# Other names that tables give them.
_NAMES = (
    {name: name for name in SPLITS}
    | dict.fromkeys(("valid", "validation", "dev"), "val")
    | {
        "training": "train",
        "testing": "test",
    }
)


def split_by_column(rows: Sequence[Row], column: str, faults: Faults) -> dict[str, list[int]]:
    """Row indexes by split as the table's column says; other values are counted in `faults` and left out."""
    found: dict[str, list[int]] = {name: [] for name in SPLITS}
    for index, row in enumerate(rows):
        value = row.fields[column].strip()
        name = split_name(value)
        if name is None:
            faults.add("unknown split", f"{column} is {value!r}", line=row.line, id=row.id)
        else:
            found[name].append(index)
    return found


def split_name(value: str) -> str | None:
    """The split that a table's value stands for: train, val (also valid, validation, dev), test; else None."""
    return _NAMES.get(value.strip().lower())


def group(size: int, keys: Iterable[Sequence[Hashable | None]]) -> list[list[int]]:
    """Group the indexes 0 ... size - 1 so that two with an equal key are in one group.

    `keys` holds sequences of `size` keys each; None is equal to nothing. Groups are joined across sequences
    (union-find): if a and b share a title, and b and c a picture, then a, b and c are one group.
    """
    parent = list(range(size))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for sequence in keys:
        first: dict[Hashable, int] = {}
        for index, key in enumerate(sequence):
            if key is not None:
                one, other = root(index), root(first.setdefault(key, index))
                parent[max(one, other)] = min(one, other)
    groups: dict[int, list[int]] = {}
    for index in range(size):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())


def split_by_group(groups: Sequence[Sequence[int]], config: DataConfig, seed: int) -> dict[str, list[int]]:
    """Divide groups at random into train, val and test of about the config's shares; a group is never divided.

    Raises DataError when there are too few groups to fill the splits.
    """
    total = sum(map(len, groups))
    room = {"val": max(1, round(total * config.val_share))}
    if config.test_share:
        room["test"] = max(1, round(total * config.test_share))
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    chosen: dict[str, list[int]] = {name: [] for name in SPLITS}
    left = []
    for number in order:
        fits = [name for name in room if len(chosen[name]) + len(groups[number]) <= room[name]]
        if fits:
            chosen[fits[0]].extend(groups[number])
        else:
            left.append(number)
    left.sort(key=lambda number: len(groups[number]), reverse=True)
    for name in room:
        if not chosen[name] and left:
            chosen[name].extend(groups[left.pop()])
    if not left:
        raise DataError(
            f"{total} rows fall into {len(groups)} group(s) that share a text or a picture: too few for "
            f"train, {', '.join(room)}. Add rows, or a column {config.split!r} that says which row goes where."
        )
    chosen["train"] = [index for number in left for index in groups[number]]
    return {name: sorted(indexes) for name, indexes in chosen.items()}
