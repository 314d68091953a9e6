"""A table with pictures becomes arrays ready for training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.config import Config, Task, TextModality
from model.data.faults import DataError, Faults
from model.data.images import Pixels, Progress, default_cache
from model.data.labels import MISSING, Labels, encode_task, learn_task
from model.data.parents import learn_parents
from model.data.pictures import Pictures
from model.data.source import Source
from model.data.split import SPLITS, group, split_by_column, split_by_group
from model.data.table import Row, Table, read_table
from model.preprocess import normalise_text


@dataclass
class Split:
    """One split: n rows, in the same order everywhere.

    `images`: modality -> uint8 [n, H, W, 3], a read-only memory map, zeros in rows that lack the picture. `texts`:
    modality -> n normalised texts, "" = missing. `present`: bool [n, M], modalities in the order of the config.
    `labels`: task -> int64 [n] (-1 = missing or not seen in training), multilabel float32 [n, C] (row of NaN =
    missing), regression float32 [n] in the table's own unit (NaN = missing).
    """

    ids: list[str]
    images: dict[str, Pixels]
    texts: dict[str, list[str]]
    present: NDArray[np.bool_]
    labels: dict[str, Labels]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.ids)


@dataclass
class Dataset:
    """The splits asked for, the config with labels filled in, and what was wrong with the data.

    `fingerprint` is the SHA-256 of the table.
    """

    config: Config
    splits: dict[str, Split]
    faults: Faults
    fingerprint: str


def load_dataset(
    config: Config,
    path: str | Path,
    *,
    cache: Path | None = None,
    labels_from: Config | None = None,
    splits: Sequence[str] = SPLITS,
    progress: Progress | None = None,
) -> Dataset:
    """Read a data set, a table with pictures beside it, and decode the pictures once into memory maps.

    `path`: a folder with the table and its pictures (as a folder or a zip beside it), the table itself, or one zip.
    Labels and regression scales are learnt from the train split, or taken from `labels_from` (a bundle's config).
    Without the config's split column, rows with the same text, the same pixels or the same value of a column of
    `config.data.groups` stay together; so they do where the column names no val row and val is drawn from train.
    `cache` holds the decoded pictures (default: $TRUNKLINE_CACHE or ~/.cache/trunkline). `progress(what, done,
    total)` is told of the decoding. Raises DataError for data that cannot be used; lesser faults are counted.
    """
    unknown = [name for name in splits if name not in SPLITS]
    if unknown:
        raise DataError(f"no split {', '.join(unknown)}; the splits are {', '.join(SPLITS)}")
    faults = Faults()
    with ExitStack() as stack:
        source = stack.enter_context(Source(path, config.data.table))
        table = read_table(source, config, faults)
        texts = _read_texts(config, table.rows)

        def look(indexes: list[int]) -> _Part:
            rows = [table.rows[index] for index in indexes]
            pictures = Pictures(config, source, rows, cache or default_cache(), progress)
            return _Part.of(config, indexes, rows, stack.enter_context(pictures), texts, faults)

        if config.data.split is not None and config.data.split in table.columns:
            assigned = split_by_column(table.rows, config.data.split, faults)
            # Labels are learnt from the train rows even when only other splits are wanted.
            train = [table.rows[index] for index in assigned["train"]]
            if train and not assigned["val"] and {"train", "val"} & set(splits):
                faults.add("no validation rows", f"column {config.data.split} has train rows and no val rows")
                parts = _divide(config, look(assigned["train"]), test_share=0.0)
                if "test" in splits:
                    parts["test"] = look(assigned["test"])
                train = parts["train"].kept_rows
            else:
                parts = {name: look(assigned[name]) for name in splits}
        else:
            parts = _divide(config, look(list(range(len(table.rows)))), config.data.test_share)
            train = parts["train"].kept_rows
        if "train" in splits:
            train = parts["train"].kept_rows
        for name in splits:
            if name != "test" and not parts[name].kept:
                raise DataError(_empty_split(table, name, config, faults))
        if labels_from is None:
            _check_modalities(config, [parts[name] for name in splits], table)
        tasks = _tasks(config, labels_from, train, faults)
        loaded = {name: parts[name].load(tasks, faults) for name in splits}
    return Dataset(config.model_copy(update={"tasks": tasks}), loaded, faults, table.fingerprint)


@dataclass
class _Part:
    """Rows whose pictures were looked at together, and which of them are kept (positions in `rows`)."""

    rows: list[Row]
    pictures: Pictures
    texts: dict[str, list[str]]
    present: NDArray[np.bool_]  # [rows, M]
    kept: list[int]

    @classmethod
    def of(
        cls,
        config: Config,
        indexes: Sequence[int],
        rows: list[Row],
        pictures: Pictures,
        texts: Mapping[str, Sequence[str]],
        faults: Faults,
    ) -> _Part:
        """Find out what each row has; what is missing is counted, and rows that have nothing are not kept."""
        own = {name: [column[index] for index in indexes] for name, column in texts.items()}
        present = np.zeros((len(rows), len(config.modalities)), dtype=np.bool_)
        for column, name in enumerate(config.modalities):
            for position, row in enumerate(rows):
                if name in own:
                    present[position, column] = bool(own[name][position])
                    if not present[position, column]:
                        faults.add("empty text", name, line=row.line, id=row.id)
                else:
                    look = pictures.looks[name][position]
                    present[position, column] = look.digest is not None
                    if look.digest is None:
                        faults.add(look.fault, f"{name}: {look.message}", line=row.line, id=row.id)
        readable = [bool(has.any()) for has in present]
        for row, kept in zip(rows, readable, strict=True):
            if not kept:
                faults.add("nothing to read", f"none of {', '.join(config.modalities)}", line=row.line, id=row.id)
        return cls(rows, pictures, own, present, [position for position, kept in enumerate(readable) if kept])

    @property
    def kept_rows(self) -> list[Row]:
        return [self.rows[position] for position in self.kept]

    def keys(self, groups: Sequence[str]) -> list[list[object]]:
        """For each kept row its text, the pixels of each image modality, and the columns `groups`.

        Rows with an equal one belong together.

        All texts of a row are one key, since a text modality of its own may be as coarse as a brand, which would tie
        everything together. None where there is no text or no picture.
        """
        columns = [[text.casefold() for text in column] for column in self.texts.values()]
        texts: list[object] = [key if any(key) else None for key in zip(*columns, strict=True)]
        looks = self.pictures.looks.values()
        keys: list[list[object]] = [[column[position].digest for position in self.kept] for column in looks]
        if texts:
            keys.append([texts[position] for position in self.kept])
        for column in groups:
            values = [row.fields[column].strip() for row in self.kept_rows]
            keys.append([None if value.lower() in MISSING else value for value in values])
        return keys

    def load(self, tasks: Mapping[str, Task], faults: Faults) -> Split:
        """The kept rows as arrays."""
        rows = self.kept_rows
        return Split(
            ids=[row.id for row in rows],
            images=self.pictures.take(self.kept),
            texts={name: [column[position] for position in self.kept] for name, column in self.texts.items()},
            present=self.present[self.kept],
            labels={name: encode_task(name, task, rows, faults) for name, task in tasks.items()},
        )


def _divide(config: Config, part: _Part, test_share: float) -> dict[str, _Part]:
    """Divide the kept rows of a part into splits, look-alikes and groups together."""
    groups = group(len(part.kept), part.keys(config.data.groups))
    shares = config.data.model_copy(update={"test_share": test_share})
    divided = split_by_group(groups, shares, config.training.seed)
    return {
        name: _Part(part.rows, part.pictures, part.texts, part.present, [part.kept[number] for number in numbers])
        for name, numbers in divided.items()
    }


def _read_texts(config: Config, rows: Sequence[Row]) -> dict[str, list[str]]:
    """Every row's text for every text modality: its columns joined and normalised."""
    return {
        name: [normalise_text(" ".join(row.fields[column] for column in modality.columns)) for row in rows]
        for name, modality in config.modalities.items()
        if isinstance(modality, TextModality)
    }


def _check_modalities(config: Config, parts: Sequence[_Part], table: Table) -> None:
    """Raise DataError for a modality that no row has: there would be nothing to learn it from."""
    for column, name in enumerate(config.modalities):
        if any(part.present[part.kept, column].any() for part in parts):
            continue
        looks = [part.pictures.looks[name][0] for part in parts if part.pictures.looks.get(name)]
        why = f"the first one: {looks[0].message}; put the pictures" if looks else "fill in its columns"
        where = " beside the table, as a folder or a zip of that name" if looks else ""
        raise DataError(f"{table.name}: no row has a usable {name}; {why}{where}, or remove modality {name}")


def _tasks(config: Config, labels_from: Config | None, train: Sequence[Row], faults: Faults) -> dict[str, Task]:
    """The config's tasks with labels filled in, and the classes above them where there is a hierarchy."""
    if labels_from is None:
        tasks = {name: learn_task(name, task, train, faults) for name, task in config.tasks.items()}
        return learn_parents(config.hierarchies, tasks, train, faults)
    absent = [name for name in config.tasks if name not in labels_from.tasks]
    if absent:
        raise DataError(f"task {', '.join(absent)}: not among the labels' tasks {', '.join(labels_from.tasks)}")
    return {name: labels_from.tasks[name] for name in config.tasks}


def _empty_split(table: Table, name: str, config: Config, faults: Faults) -> str:
    found = faults.render()
    return (
        f"{table.name}: no usable row in split {name}; mark rows with {name!r} in column {config.data.split!r}, "
        "or drop that column to have rows divided by group" + (f"\n{found}" if found else "")
    )
