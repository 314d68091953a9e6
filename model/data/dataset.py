"""A table with pictures becomes arrays ready for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.config import Config, ImageModality, Modality, Task, TextModality
from model.data.faults import DataError, Faults
from model.data.images import ImageStore, Look, default_cache
from model.data.labels import Labels, encode_task, learn_task
from model.data.source import Source
from model.data.split import SPLITS, group, split_by_column, split_by_group
from model.data.table import Row, fill, read_table
from model.preprocess import normalise_text

Progress = Callable[[str, int, int], None]


@dataclass
class Split:
    """One split: n rows, in the same order everywhere.

    `images`: modality -> uint8 [n, H, W, 3], a read-only memory map, zeros in rows that lack the picture. `texts`:
    modality -> n normalised texts, "" = missing. `present`: bool [n, M], modalities in the order of the config.
    `labels`: task -> int64 [n] (-1 = missing or not seen in training), multilabel float32 [n, C] (row of NaN =
    missing), regression float32 [n] in the table's own unit (NaN = missing).
    """

    ids: list[str]
    images: dict[str, NDArray[np.uint8]]
    texts: dict[str, list[str]]
    present: NDArray[np.bool_]
    labels: dict[str, Labels]

    def __len__(self) -> int:
        """n."""
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
    """Read a data set in the Kaggle layout and decode its pictures once into memory maps.

    `path`: a folder with the table and its pictures (as a folder or a zip beside it), the table itself, or one zip.
    Labels and regression scales are learnt from the train split, or taken from `labels_from` (a bundle's config).
    Without the config's split column, rows with the same text or the same pixels stay together. `cache` holds the
    decoded pictures (default: $TRUNKLINE_CACHE or ~/.cache/trunkline). `progress(what, done, total)` is told of the
    decoding. Raises DataError for data that cannot be used; lesser faults are counted in the result.
    """
    unknown = [name for name in splits if name not in SPLITS]
    if unknown:
        raise DataError(f"no split {', '.join(unknown)}; the splits are {', '.join(SPLITS)}")
    faults = Faults()
    with ExitStack() as stack:
        source = stack.enter_context(Source(path, config.data.table))
        table = read_table(source, config, faults)
        texts = _read_texts(config, table.rows)
        by_column = config.data.split in table.columns
        if by_column:
            assigned = split_by_column(table.rows, config.data.split, faults)
            parts = {name: assigned[name] for name in splits}
        else:
            parts = {"every row": list(range(len(table.rows)))}
        pictures = {
            part: _Pictures(config, source, table.rows, indexes, cache or default_cache(), progress, stack)
            for part, indexes in parts.items()
        }
        kept: dict[str, list[int]]  # split -> positions within its part, rows with nothing to read left out
        if by_column:
            kept = {name: pictures[name].readable(texts, faults) for name in splits}
            train = assigned["train"]
        else:
            whole = pictures["every row"]
            readable = whole.readable(texts, faults)
            groups = group(len(readable), [_joint(texts, readable), *whole.digests(readable)])
            kept = {
                name: [readable[position] for position in positions]
                for name, positions in split_by_group(groups, config.data, config.training.seed).items()
            }
            train = kept["train"]
        for name in splits:
            if name != "test" and not kept[name]:
                raise DataError(_empty_split(table.name, name, config, faults))
        tasks = _tasks(config, labels_from, [table.rows[index] for index in train], faults)
        loaded = {}
        for name in splits:
            part = pictures[name if by_column else "every row"]
            indexes = [part.indexes[position] for position in kept[name]]
            rows = [table.rows[index] for index in indexes]
            loaded[name] = Split(
                ids=[row.id for row in rows],
                images=part.take(kept[name]),
                texts={modality: [column[index] for index in indexes] for modality, column in texts.items()},
                present=part.present(texts)[kept[name]],
                labels={task: encode_task(task, tasks[task], rows, faults) for task in tasks},
            )
    return Dataset(config.model_copy(update={"tasks": tasks}), loaded, faults, table.fingerprint)


class _Pictures:
    """The pictures of some rows, for every image modality, with what is present."""

    def __init__(
        self,
        config: Config,
        source: Source,
        rows: Sequence[Row],
        indexes: list[int],
        cache: Path,
        progress: Progress | None,
        stack: ExitStack,
    ) -> None:
        self.indexes = indexes
        self._rows = [rows[index] for index in indexes]
        self._modalities = config.modalities
        self._stores: dict[str, ImageStore] = {}
        self._looks: dict[str, list[Look]] = {}
        for name, modality in config.modalities.items():
            if isinstance(modality, ImageModality):
                files = [fill(modality.path, row) for row in self._rows]
                store = ImageStore(source, files, modality, cache, f"decode {name}", progress or _silent)
                self._stores[name] = stack.enter_context(store)
                self._looks[name] = self._stores[name].look()

    def present(self, texts: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
        """Which modalities each row has: bool [n, M]."""
        columns = [
            [look.digest is not None for look in self._looks[name]]
            if name in self._looks
            else [bool(texts[name][index]) for index in self.indexes]
            for name in self._modalities
        ]
        return np.array(columns, dtype=np.bool_).reshape(len(columns), -1).T

    def readable(self, texts: Mapping[str, Sequence[str]], faults: Faults) -> list[int]:
        """The positions of the rows that have a modality at all; what is missing is counted in `faults`."""
        present = self.present(texts)
        for position, row in enumerate(self._rows):
            for column, name in enumerate(self._modalities):
                if present[position, column]:
                    continue
                if name in self._looks:
                    look = self._looks[name][position]
                    faults.add(look.fault, f"{name}: {look.message}", line=row.line, id=row.id)
                else:
                    faults.add("empty text", name, line=row.line, id=row.id)
            if not present[position].any():
                faults.add("nothing to read", f"none of {', '.join(self._modalities)}", line=row.line, id=row.id)
        return [int(position) for position in np.flatnonzero(present.any(axis=1))]

    def digests(self, positions: Sequence[int]) -> list[list[str | None]]:
        """For each image modality, the digest of each row's pixels."""
        return [[looks[position].digest for position in positions] for looks in self._looks.values()]

    def take(self, positions: Sequence[int]) -> dict[str, NDArray[np.uint8]]:
        """The pictures of some of the rows."""
        return {name: store.take(positions) for name, store in self._stores.items()}


def _read_texts(config: Config, rows: Sequence[Row]) -> dict[str, list[str]]:
    """Every row's text for every text modality: its columns joined and normalised."""
    return {
        name: [normalise_text(" ".join(row.fields[column] for column in modality.columns)) for row in rows]
        for name, modality in _text_modalities(config.modalities).items()
    }


def _text_modalities(modalities: Mapping[str, Modality]) -> dict[str, TextModality]:
    return {name: modality for name, modality in modalities.items() if isinstance(modality, TextModality)}


def _joint(texts: Mapping[str, Sequence[str]], indexes: Sequence[int]) -> list[tuple[str, ...] | None]:
    """One key a row: all its texts, in one case; None without text.

    All together, since a text modality of its own may be as coarse as a brand, which would tie everything together.
    """
    joined = [tuple(column[index].casefold() for column in texts.values()) for index in indexes]
    return [key if any(key) else None for key in joined]


def _tasks(config: Config, labels_from: Config | None, train: Sequence[Row], faults: Faults) -> dict[str, Task]:
    """The config's tasks with labels filled in."""
    if labels_from is None:
        return {name: learn_task(name, task, train, faults) for name, task in config.tasks.items()}
    absent = [name for name in config.tasks if name not in labels_from.tasks]
    if absent:
        raise DataError(f"task {', '.join(absent)}: not among the labels' tasks {', '.join(labels_from.tasks)}")
    return {name: labels_from.tasks[name] for name in config.tasks}


def _empty_split(table: str, name: str, config: Config, faults: Faults) -> str:
    found = faults.render()
    return (
        f"{table}: no usable row in split {name}; mark rows with {name!r} in column {config.data.split!r}, or drop "
        f"that column to have rows divided by group" + (f"\n{found}" if found else "")
    )


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""
