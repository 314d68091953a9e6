"""From a table to a proposed config, with a verdict on every column."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.config import RESERVED_NAMES, Config, parse_config
from model.data.faults import DataError, Faults
from model.data.labels import learn_task
from model.data.records import Records, read_records
from model.data.source import Source
from model.data.split import split_name
from model.data.table import Row
from model.proposal.columns import Column, plural
from model.proposal.hierarchies import find_hierarchies
from model.proposal.judge import ID_WORDS, judge
from model.proposal.leakage import Division, divide, follow_split, judge_split
from model.proposal.pictures import Pattern, complements, find_patterns, list_pictures, name_patterns, sizes
from model.proposal.sizing import bundle_name, image_settings, text_settings, training_settings
from model.proposal.twins import find_settled, find_twins
from model.proposal.verdict import Verdict, left_out


@dataclass(frozen=True)
class Proposal:
    """A config document that `parse_config` takes, and the reasons for it.

    `verdicts`: every column of the table in its order. `notes`: what concerns more than one column. `reasons`: the
    path of a field, such as ("tasks", "year"), and why it stands there.
    """

    document: dict[str, Any]
    config: Config
    table: Path
    rows: int
    verdicts: dict[str, Verdict]
    notes: list[str]
    reasons: dict[tuple[str, ...], str] = field(default_factory=dict)


def propose(table: Path, images: Path | None = None) -> Proposal:
    """Look at a table (CSV or Parquet) and the pictures beside it.

    `images`: the folder or zip to take pictures from, instead of every one beside the table. Raises DataError for a
    table that cannot be read, has no input or has no question; the message names each column and why not.
    """
    if not table.is_file():
        raise DataError(f"{table}: no such table; give a CSV or Parquet file")
    if table.suffix.lower() == ".zip":
        raise DataError(f"{table}: give the table itself; unpack the zip, images.zip beside the table may stay packed")
    with Source(table, table.name) as source:
        faults = Faults()
        records = read_records(str(table), source.table(), faults)
        if not records.rows:
            raise DataError(f"{table}: no usable row\n{faults.render()}".rstrip())
        look = _Look(table, records)
        look.pictures(source, images)
        look.columns_alone()
        look.columns_together()
        if faults:
            look.notes.append(f"faults in the table:\n{faults.render()}")
        return look.proposal()


class _Look:
    """One look at a table; each step settles some columns."""

    def __init__(self, table: Path, records: Records) -> None:
        self.table = table
        self.rows = len(records.rows)
        self.notes: list[str] = []
        self.verdicts: dict[str, Verdict] = {}
        self.order = list(dict.fromkeys(records.columns))
        self.columns: dict[str, Column] = {}
        self.images: dict[str, Pattern] = {}
        self.image_sizes: dict[str, list[tuple[int, int]]] = {}
        self.division = Division()
        self.split: str | None = None
        self.id: str | None = None
        for number, name in enumerate(records.columns):
            if name in records.unread:
                advice = "; for pictures, write them as files" if "binary" in records.unread[name] else ""
                self.verdicts[name] = left_out(f"of type {records.unread[name]}, which is not read{advice}")
            elif not name:
                self.verdicts[name] = left_out("a column without a name")
            elif records.columns.count(name) > 1:
                self.verdicts[name] = left_out("stands in the header more than once: rename one")
            else:
                self.columns[name] = Column(name, [values[number] for _, values in records.rows])

    def pictures(self, source: Source, images: Path | None) -> None:
        """Find the pattern, or the patterns, that lead rows to pictures."""
        names = list_pictures(self.table, images)
        patterns = find_patterns(list(self.columns.values()), names)
        if not patterns:
            if images is not None:
                raise DataError(
                    f"{images}: holds {plural(len(names), 'picture')}, such as {names[0]}, but no column's values "
                    "stand in their names; give the table a column with the file names"
                )
            if names:
                self.notes.append(
                    f"{plural(len(names), 'picture')}, such as {names[0]}, whose names no column holds: unused"
                )
            return
        kept: list[Pattern] = []
        for pattern in patterns:
            rival = next((other for other in kept if complements(pattern, other)), None)
            if rival is None:
                kept.append(pattern)
            else:
                self.notes.append(
                    f"{plural(pattern.found, 'row')} have their picture at {pattern.template}, others at "
                    f"{rival.template}; a modality has one pattern: rename the files, or give the table a column with "
                    "the file names"
                )
        self.images = dict(zip(name_patterns(kept), kept, strict=True))
        self.image_sizes = {name: sizes(source, pattern) for name, pattern in self.images.items()}

    def columns_alone(self) -> None:
        """Judge each column by itself."""
        found = judge_split(list(self.columns.values()))
        if found is not None:
            self.split, self.verdicts[found[0]] = found
        for name, column in self.columns.items():
            if name not in self.verdicts:
                self.verdicts[name] = judge(column)
        self.id = self._choose_id()
        if self.id is not None:
            column = self.columns[self.id]
            again = column.filled - column.distinct
            warnings = (f"{plural(again, 'row')} repeat an id and are left out",) if again else ()
            self.verdicts[self.id] = Verdict("id", "a value of its own in each row", warnings=warnings)
        for pattern in self.images.values():
            for name in pattern.columns:
                served = f"fills {pattern.template}: {pattern.found:,} of {plural(self.rows, 'row')} have a picture"
                verdict = self.verdicts[name]
                if verdict.use in ("left out", "text"):
                    self.verdicts[name] = Verdict("image", served)
                else:
                    reason = f"{verdict.reason}; {served}"
                    self.verdicts[name] = Verdict(verdict.use, reason, verdict.task, verdict.warnings)

    def _choose_id(self) -> str | None:
        """The column that names rows: called id, named like one, filling a picture's name, or holding codes."""
        fills = {pattern.columns[0] for pattern in self.images.values() if len(pattern.columns) == 1}

        def rank(column: Column) -> int | None:
            verdict = self.verdicts[column.name]
            if column.name.lower() == "id" and column.filled == column.rows and column.variety >= 0.99:
                return 0
            if not column.unique or verdict.use == "text":
                return None
            if set(column.words) & ID_WORDS:
                return 1 if column.name in fills else 2
            if column.name in fills:
                return 3
            return 4 if verdict.use == "left out" and verdict.reason.startswith("id-like") else None

        ranked = [(place, name) for name, column in self.columns.items() if (place := rank(column)) is not None]
        # Stable: the first in the table among equals.
        return min(ranked, key=lambda entry: entry[0])[1] if ranked else None

    def columns_together(self) -> None:
        """Judge columns beside one another: twins, groups against leakage, and tasks as training will see them."""
        tasks = [self.columns[name] for name in self._used("task")]
        for name, reason in find_twins(tasks).items():
            self.verdicts[name] = left_out(reason)
        texts = [self.columns[name] for name in self._used("text")]
        grouping = [self.columns[name] for name in self._used("group")]
        if self.split is not None:
            self.division = follow_split(self.columns[self.split], texts, grouping)
        else:
            self.division = divide(self.rows, texts, grouping)
        self.notes += self.division.notes
        self.verdicts |= self.division.verdicts

    def _used(self, use: str) -> list[str]:
        return [name for name in self.order if self.verdicts[name].use == use]

    def _classes(self, name: str) -> bool:
        task = self.verdicts[name].task
        return task is not None and task["kind"] in ("multiclass", "binary", "ordinal")

    def proposal(self) -> Proposal:
        """The document, checked by the code that reads it and the code that learns its labels."""
        if not self.images and not self._used("text"):
            raise DataError(f"{self.table}: no picture and no text to read from.\n{self._told()}")
        document: dict[str, Any] = {"name": bundle_name(self.table), "version": "1", "source": ""}
        data: dict[str, Any] = {"table": self.table.name, "id": self.id}
        if self.split is not None:
            data["split"] = self.split
        elif "split" in self.order:
            data["split"] = None
        if self.division.groups:
            data["groups"] = self.division.groups
        document["data"] = data
        reasons: dict[tuple[str, ...], str] = {}
        modalities = document["modalities"] = {}
        for name, pattern in self.images.items():
            modalities[name], reasons["modalities", name] = image_settings(pattern, self.image_sizes[name])
        texts = [self.columns[name] for name in self._used("text")]
        if texts:
            modalities["text"], reasons["modalities", "text"] = text_settings(texts)
        tasks = document["tasks"] = self._tasks(reasons)
        told = self._hierarchies(document, reasons)
        self.notes += find_settled([self.columns[name] for name in self._used("task") if self._classes(name)], told)
        if len(tasks) > 1:
            document["relation"] = {"kind": "label_affinity", "threshold": 0.3}
        document["training"] = training_settings(self.rows)
        verdicts = {name: self.verdicts[name] for name in self.order}
        config = parse_config(document, f"proposal for {self.table}")
        return Proposal(document, config, self.table, self.rows, verdicts, self.notes, reasons)

    def _hierarchies(self, document: dict[str, Any], reasons: dict[tuple[str, ...], str]) -> list[frozenset[str]]:
        """Declare the hierarchies among the tasks; the columns of each."""
        columns = {
            name: self.columns[task.get("column", name)]
            for name, task in document["tasks"].items()
            if task["kind"] == "multiclass"
        }
        found = find_hierarchies(columns)
        if found:
            document["hierarchies"] = [list(one.tasks) for one in found]
            reasons["hierarchies",] = "\n".join(one.reason for one in found)
        return [frozenset(columns[name].name for name in one.tasks) for one in found]

    def _tasks(self, reasons: dict[tuple[str, ...], str]) -> dict[str, Any]:
        """The tasks that can be learnt from the training rows."""
        tasks: dict[str, Any] = {}
        for name in self._used("task"):
            verdict = self.verdicts[name]
            task = dict(verdict.task or {})
            called = self._task_name(name, tasks)
            if called != name:
                task["column"] = name
            try:
                self._learn(called, task)
            except DataError as error:
                self.verdicts[name] = left_out(str(error))
                continue
            tasks[called] = task
            empty = self.rows - self.columns[name].filled
            gaps = f"; {plural(empty, 'row')} ({empty / self.rows:.0%}) without a value" if empty else ""
            reasons["tasks", called] = verdict.reason + gaps
            self.verdicts[name] = Verdict("task", verdict.reason + gaps, verdict.task, verdict.warnings)
        if not tasks:
            raise DataError(f"{self.table}: no column that asks a question.\n{self._told()}")
        return tasks

    def _task_name(self, column: str, taken: Container[str]) -> str:
        """The column's name, or the nearest one that a config takes and no other column has."""
        name = column.replace(",", " ").strip() or "label"
        if name != column or name in RESERVED_NAMES:
            name = f"{name}_label"
            while name in self.order or name in taken:
                name += "_"
        return name

    def _learn(self, called: str, document: dict[str, Any]) -> None:
        task = parse_config(
            {"name": "x", "modalities": {"t": {"kind": "text", "columns": ["t"]}}, "tasks": {called: document}}
        ).tasks[called]
        column = self.columns[task.column or called]
        split = self.columns[self.split].values if self.split is not None else ["train"] * self.rows
        rows = [
            Row(number, str(number), {column.name: value})
            for number, (value, home) in enumerate(zip(column.values, split, strict=True))
            if split_name(home) == "train"
        ]
        learn_task(called, task, rows, Faults())

    def _told(self) -> str:
        shown: Sequence[str] = [f"  {name or '(no name)'}: {v.shown}, {v.reason}" for name, v in self.verdicts.items()]
        return "\n".join(shown)
