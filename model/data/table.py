"""Reading the table: rows by column name, survived malformed lines, checked columns."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model.config import Config, ImageModality
from model.data.faults import DataError, Faults
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
    lines = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True), start=1):
        try:
            lines.append(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            lines.append(raw.decode("utf-8", "replace"))
            faults.add("undecodable text", f"byte {raw[error.start]:#04x} is not UTF-8", line=number)
    # str.splitlines would also split at characters that a title may hold, such as U+2028; bytes.splitlines does not.
    records = _records(lines)
    first = next(records, None)
    if first is None or not any(first[1]):
        raise DataError(f"{source.table_name}: the table is empty; it needs a header line and rows")
    columns = tuple(column.strip() for column in first[1])
    _check_columns(source.table_name, columns, config)

    rows = []
    seen: dict[str, int] = {}
    for line, values in records:
        if not any(value.strip() for value in values) and not lines[line - 1].strip():
            continue
        if len(values) != len(columns):
            faults.add("malformed row", f"{len(values)} fields where the header has {len(columns)}", line=line)
            continue
        fields = dict(zip(columns, values, strict=True))
        id = fields[config.data.id].strip()
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


def _records(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each record.

    A quote that never closes would swallow the rest of the file, or all up to the next quote. So where quotes do not
    pair up, or a record spans lines and does not fit the header, its first line is read on its own and the next
    record starts behind it.
    """
    start = 0
    width = 0
    while start < len(lines):
        reader = csv.reader(lines[start:], strict=True)
        used = 0
        try:
            for values in reader:
                if width and reader.line_num > used + 1 and len(values) != width:
                    raise csv.Error("a quote is not closed")
                width = width or len(values)
                yield start + used + 1, values
                used = reader.line_num
            return
        except csv.Error:
            yield start + used + 1, _alone(lines[start + used])
            start += used + 1


def _alone(line: str) -> list[str]:
    """The fields of a line on its own, with quotes taken as they come; none when even so it cannot be read."""
    try:
        return next(csv.reader([line.rstrip("\r\n")]), [])
    except csv.Error:
        return []


def _check_columns(name: str, columns: Sequence[str], config: Config) -> None:
    """Raise DataError for the config's columns that the table lacks or has twice."""
    wanted = {config.data.id: "data.id"}
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
    twice = [column for column in [*wanted, config.data.split] if columns.count(column) > 1]
    if twice:
        raise DataError(f"{name}: column {', '.join(twice)} stands in the header more than once; rename one")
