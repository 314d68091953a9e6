"""Parquet tables as the text that the same table would hold as CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from model.data.faults import DataError
from model.data.records import Records

# Between the items of a list; the second where an item of the column holds the first.
_SEPARATORS = ("|", "\x1f")


def read_parquet(name: str, content: bytes) -> Records:
    """Read a Parquet file's content; `name` stands in messages.

    A null reads as empty, a truth value as true or false, a whole number as such even where a gap made the column a
    float one, a date in ISO form, a list of plain values as the values between "|" (an empty list as "|": no value,
    as against an unknown one). Other columns, such as bytes and structures, are named in `unread`.

    Raises DataError when the file is damaged or pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise DataError(
            f"{name}: reading Parquet needs pyarrow; install it with: pip install 'trunkline[train]'"
        ) from None
    try:
        table = parquet.read_table(pyarrow.BufferReader(content))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{name}: not a readable Parquet file ({error})") from None
    unread = {}
    columns: list[list[str]] = []
    for field in table.schema:
        if _readable(field.type):
            # By position, because a name may stand twice.
            columns.append(_texts(table.column(len(columns)).to_pylist()))
        else:
            unread[field.name.strip()] = str(field.type)
            columns.append([""] * table.num_rows)
    if not columns or not table.num_rows:
        raise DataError(f"{name}: the table is empty; it needs columns and rows")
    header = tuple(str(field.name).strip() for field in table.schema)
    rows = [(line, list(values)) for line, values in enumerate(zip(*columns, strict=True), start=2)]
    return Records(header, rows, unread)


def _readable(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _readable(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return not types.is_nested(kind.value_type) and _readable(kind.value_type)
    return not (
        types.is_nested(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_duration(kind)
    )


def _texts(values: Sequence[Any]) -> list[str]:
    """The column's values as text."""
    if any(isinstance(value, list) for value in values):
        items = [None if value is None else [_text(item) for item in value] for value in values]
        held = {character for row in items for item in row or () for character in item}
        separator = next((one for one in _SEPARATORS if one not in held), _SEPARATORS[-1])
        return ["" if row is None else separator.join(row) or separator for row in items]
    # A whole column of whole floats is one of integers with gaps; with a fraction anywhere, 2.0 stays 2.0.
    floats = [value for value in values if isinstance(value, float) and not math.isnan(value)]
    if floats and all(value.is_integer() for value in floats):
        return ["" if value is None or math.isnan(value) else str(int(value)) for value in values]
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
