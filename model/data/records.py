"""The records of a table as they stand in the file: comma-, semicolon- or tab-separated text, or Parquet."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from model.data.faults import DataError, Faults

_PARQUET = b"PAR1"
_DELIMITERS = ",;\t"
# A name with a line break in it leaves its quote open on the header's first line.
_QUOTED = re.compile('"[^"]*("|$)')


@dataclass(frozen=True)
class Records:
    """The header, and each row with its line (the header is line 1) and one text a column.

    `unread`: columns of the file that hold no text, number, date or list, with their type; they read as empty.
    """

    columns: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    unread: dict[str, str] = field(default_factory=dict)


def read_records(name: str, content: bytes, faults: Faults) -> Records:
    """Read a table's content; `name` stands in messages.

    Which format it is shows in the content. Rows that do not fit the header are counted in `faults` and left out.
    Raises DataError for an empty table and for Parquet that cannot be read.
    """
    if content.startswith(_PARQUET):
        from model.data.parquet import read_parquet

        return read_parquet(name, content)
    return _read_text(name, content, faults)


def _read_text(name: str, content: bytes, faults: Faults) -> Records:
    lines = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True), start=1):
        try:
            lines.append(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            lines.append(raw.decode("utf-8", "replace"))
            faults.add("undecodable text", f"byte {raw[error.start]:#04x} is not UTF-8", line=number)
    # str.splitlines would also split at characters that a title may hold, such as U+2028; bytes.splitlines does not.
    records = _records(lines, _delimiter(lines[0]) if lines else ",")
    first = next(records, None)
    if first is None or not any(first[1]):
        raise DataError(f"{name}: the table is empty; it needs a header line and rows")
    columns = tuple(column.strip() for column in first[1])
    rows = []
    for line, values in records:
        if not any(value.strip() for value in values) and not lines[line - 1].strip():
            continue
        if len(values) != len(columns):
            faults.add("malformed row", f"{len(values)} fields where the header has {len(columns)}", line=line)
            continue
        rows.append((line, values))
    return Records(columns, rows)


def _delimiter(header: str) -> str:
    """The character that stands most often between the header's names; a comma where none does."""
    return max(_DELIMITERS, key=_QUOTED.sub("", header).count)


def _records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each record.

    A quote that never closes would swallow the rest of the file, or all up to the next quote. So where quotes do not
    pair up, or a record spans lines and does not fit the header, its first line is read on its own and the next
    record starts behind it.
    """
    start = 0
    width = 0
    while start < len(lines):
        reader = csv.reader(lines[start:], delimiter=delimiter, strict=True)
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
            yield start + used + 1, _alone(lines[start + used], delimiter)
            start += used + 1


def _alone(line: str, delimiter: str) -> list[str]:
    """The fields of a line on its own, with quotes taken as they come; none when even so it cannot be read."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])
    except csv.Error:
        return []
