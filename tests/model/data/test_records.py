"""Every form of table reads as the same rows."""

from __future__ import annotations

import datetime
import decimal
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.data import DataError, Faults, Source, load_dataset
from model.data.records import read_records
from model.data.table import read_table
from tests.model.data.shop import config, make_shop, products


def _parquet(columns: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _columns(content: bytes) -> dict[str, list[str]]:
    records = read_records("data", content, Faults())
    values = zip(*(row for _, row in records.rows), strict=True)
    return {name: list(column) for name, column in zip(records.columns, values, strict=True)}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_shows_in_the_header(delimiter: str) -> None:
    text = 'id,note,kind\n1,"one, two; three",shoe\n'.replace(",", delimiter).replace(f"one{delimiter} ", "one, ")
    assert _columns(text.encode()) == {"id": ["1"], "note": ["one, two; three"], "kind": ["shoe"]}


def test_a_delimiter_within_a_quoted_column_name_does_not_count() -> None:
    assert list(_columns(b'id,"a;b;c;d",kind\n1,2,3\n')) == ["id", "a;b;c;d", "kind"]


def test_parquet_values_read_as_the_text_of_the_same_csv() -> None:
    assert _columns(
        _parquet(
            {
                "whole": pa.array([1, 2, None]),
                "gaps": pa.array([3.0, None, 4.0]),
                "nan": pa.array([1.0, float("nan"), 2.0], from_pandas=False),
                "fraction": [2.0, 2.5, None],
                "yes": [True, False, None],
                "text": ["a, b", "", None],
                "day": [datetime.date(2024, 2, 29), None, None],
                "money": [decimal.Decimal("1.50"), None, None],
                "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
            }
        )
    ) == {
        "whole": ["1", "2", ""],
        "gaps": ["3", "", "4"],
        "nan": ["1", "", "2"],
        "fraction": ["2.0", "2.5", ""],
        "yes": ["true", "false", ""],
        "text": ["a, b", "", ""],
        "day": ["2024-02-29", "", ""],
        "money": ["1.50", "", ""],
        "kind": ["x", "y", "x"],
    }


def test_a_list_reads_as_its_items_with_a_separator_that_none_holds() -> None:
    columns = _columns(_parquet({"tags": [["a", "b"], [], None], "odd": [["a|b", "c"], ["d"], None]}))
    assert columns == {"tags": ["a|b", "|", ""], "odd": ["a|b\x1fc", "d", ""]}


def test_an_empty_list_means_no_label_and_a_null_means_unknown(tmp_path: Path) -> None:
    make_shop(tmp_path / "shop")
    (tmp_path / "shop" / "styles.csv").unlink()
    ids = [row[0] for row in products()]
    tags = [["warm", "new"], [], None, ["new"], ["warm"], ["new"], ["new"], ["warm"], [], ["new"]]
    table = {"id": ids, "title": ids, "tags": tags, "split": [row[3] for row in products()]}
    (tmp_path / "shop" / "shop.parquet").write_bytes(_parquet(table))
    tasks = {"tags": {"kind": "multilabel", "separator": "|"}}
    data = load_dataset(config(tasks=tasks, data={"table": "shop.parquet"}), tmp_path / "shop")
    assert data.config.tasks["tags"].labels == ("new", "warm")
    labels = data.splits["train"].labels["tags"]
    np.testing.assert_array_equal(labels[:3], [[1, 1], [0, 0], [np.nan, np.nan]])


def test_columns_of_bytes_are_named_and_refused_only_where_a_config_needs_them(tmp_path: Path) -> None:
    table = {"id": ["1"], "kind": ["shoe"], "title": ["One"], "split": ["train"], "photo": [b"\xff\xd8"]}
    (tmp_path / "t.parquet").write_bytes(_parquet(table))
    with Source(tmp_path, "t.parquet") as source:
        assert read_table(source, config(), Faults()).rows[0].fields["photo"] == ""
        modalities = {"image": {"kind": "image", "path": "{photo}"}}
        with pytest.raises(DataError, match=r"column photo \(binary\) holds what no config can name"):
            read_table(source, config(modalities=modalities), Faults())


def test_damaged_and_empty_parquet_is_refused() -> None:
    with pytest.raises(DataError, match="data: not a readable Parquet file"):
        read_records("data", _parquet({"id": [1, 2]})[:-10], Faults())
    with pytest.raises(DataError, match="data: the table is empty"):
        read_records("data", _parquet({"id": pa.array([], pa.string())}), Faults())


def test_without_pyarrow_parquet_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    content = _parquet({"id": [1]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"install it with: pip install 'trunkline\[train\]'"):
        read_records("data", content, Faults())


def test_without_a_column_of_ids_the_line_names_the_row(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text("kind,title\nshoe,One\n\nshoe,One\n")
    with Source(tmp_path, "styles.csv") as source:
        table = read_table(
            source, config(data={"id": None}, modalities={"t": {"kind": "text", "columns": ["title"]}}), Faults()
        )
    assert [row.id for row in table.rows] == ["2", "4"]
