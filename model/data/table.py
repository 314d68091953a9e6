"""Reading the table: rows by column name, checked ids and columns."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from model.config import Config, ImageModality
from model.data.faults import DataError, Faults
from model.data.records import Records, read_records
from model.data.source import Source

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Row:
    """One usable row: its line in the file (the header is line 1), its id and its fields by column."""

    line: int
    id: str
    fields: dict[str, str]


@dataclass(frozen=True)
class Table:
    """The usable rows in file order; `fingerprint` is the SHA-256 of the file's content."""

    name: str
    columns: tuple[str, ...]
    rows: list[Row]
    fingerprint: str


def read_table(source: Source, config: Config, faults: Faults) -> Table:
    """Read the source's table.

    Rows that do not fit the header, lack an id or repeat one are counted in `faults` and left out. Raises DataError
    for an empty table and for a column that the config names and the table lacks.
    """
    content = source.table()
    records = read_records(source.table_name, content, faults)
    columns = records.columns
    _check_columns(source.table_name, records, config)

    rows = []
    seen: dict[str, int] = {}
    for line, values in records.rows:
        fields = dict(zip(columns, values, strict=True))
        # Without a column of ids, the line is the row's name.
        id = str(line) if config.data.id is None else fields[config.data.id].strip()
        if not id:
            faults.add("empty id", f"column {config.data.id} is empty", line=line)
        elif id in seen:
            faults.add("duplicate id", f"the id already stands in line {seen[id]}", line=line, id=id)
        else:
            seen[id] = line
            rows.append(Row(line, id, fields))
    if not rows:
        raise DataError(f"{source.table_name}: no usable row\n{faults.render()}".rstrip())
    return Table(source.table_name, columns, rows, hashlib.sha256(content).hexdigest())


def fill(template: str, row: Row) -> str:
    """A modality's file name for a row: each {column} replaced by the row's value."""
    return _PLACEHOLDER.sub(lambda match: row.fields[match[1]].strip(), template)


def _check_columns(name: str, records: Records, config: Config) -> None:
    """Raise DataError for the config's columns that the table lacks, has twice or holds in a form that is not read."""
    columns = records.columns
    wanted = {} if config.data.id is None else {config.data.id: "data.id"}
    for column in config.data.groups:
        wanted.setdefault(column, "data.groups")
    for modality_name, modality in config.modalities.items():
        if isinstance(modality, ImageModality):
            for column in _PLACEHOLDER.findall(modality.path):
                wanted.setdefault(column, f"modalities.{modality_name}.path")
        else:
            for column in modality.columns:
                wanted.setdefault(column, f"modalities.{modality_name}.columns")
    for task_name, task in config.tasks.items():
        wanted.setdefault(task.column or task_name, f"tasks.{task_name}.column")
    missing = [f"{column!r} ({field})" for column, field in wanted.items() if column not in columns]
    if missing:
        raise DataError(
            f"{name}: no column {', '.join(missing)}; the columns are {', '.join(columns)}. "
            "Correct the config, or the table's header."
        )
    divided = [] if config.data.split is None else [config.data.split]
    twice = [column for column in [*wanted, *divided] if columns.count(column) > 1]
    if twice:
        raise DataError(f"{name}: column {', '.join(twice)} stands in the header more than once; rename one")
    unread = [f"{column} ({records.unread[column]})" for column in wanted if column in records.unread]
    if unread:
        raise DataError(
            f"{name}: column {', '.join(unread)} holds what no config can name; write it as text, numbers or lists, "
            "and pictures as files"
        )
