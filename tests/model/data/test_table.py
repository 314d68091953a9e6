"""Rows as real tables have them: torn, doubled, oddly quoted and oddly encoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.data import DataError, Faults, Source
from model.data.table import Table, read_table
from tests.model.data.shop import config

HEADER = "id,kind,title,split\n"


def _read(tmp_path: Path, content: str | bytes) -> tuple[Table, Faults]:
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / "styles.csv").write_bytes(data)
    faults = Faults()
    with Source(tmp_path, "styles.csv") as source:
        return read_table(source, config(), faults), faults


def _titles(table: Table) -> dict[str, str]:
    return {row.id: row.fields["title"] for row in table.rows}


def test_rows_carry_the_line_that_they_stand_in(tmp_path: Path) -> None:
    table, faults = _read(tmp_path, HEADER + '1,shoe,"two\nlines",train\n\n2,shirt,Plain,val\n')
    assert [(row.line, row.id) for row in table.rows] == [(2, "1"), (5, "2")]
    assert _titles(table) == {"1": "two\nlines", "2": "Plain"}
    assert not faults


@pytest.mark.parametrize("line", ["2,shirt,Red, with a comma,train", "2,shirt", "no table at all"])
def test_a_row_that_does_not_fit_the_header_is_left_out_and_listed(tmp_path: Path, line: str) -> None:
    table, faults = _read(tmp_path, f"{HEADER}1,shoe,One,train\n{line}\n3,shoe,Three,train\n")
    assert list(_titles(table)) == ["1", "3"]
    assert faults.counts == {"malformed row": 1}
    assert faults.examples["malformed row"][0].line == 3
    assert "where the header has 4" in faults.examples["malformed row"][0].message


def test_a_quote_that_never_closes_costs_one_row(tmp_path: Path) -> None:
    rest = "".join(f"{number},shoe,Title {number},train\n" for number in range(3, 2000))
    table, faults = _read(tmp_path, f'{HEADER}1,shoe,One,train\n2,shirt,"Open,train\n{rest}')
    assert list(_titles(table)) == ["1", *map(str, range(3, 2000))]
    assert faults.counts == {"malformed row": 1}
    assert faults.examples["malformed row"][0].line == 3


def test_a_quote_that_closes_in_a_later_row_costs_one_row(tmp_path: Path) -> None:
    table, faults = _read(tmp_path, HEADER + '1,"shoe,One,train\n2,shirt,Two",val\n3,shoe,Three,train\n')
    assert _titles(table) == {"2": 'Two"', "3": "Three"}
    assert faults.counts == {"malformed row": 1}
    assert faults.examples["malformed row"][0].line == 2


@pytest.mark.parametrize("later", ["plain", '"quoted, twice"'])
def test_a_quote_open_in_the_last_column_does_not_swallow_the_rows_behind_it(tmp_path: Path, later: str) -> None:
    content = f'id,kind,split,title\n1,shoe,train,"Open\n2,shirt,train,Two\n3,shirt,val,{later}\n'
    table, _ = _read(tmp_path, content)
    assert _titles(table) == {"1": "Open", "2": "Two", "3": later.strip('"')}


def test_quotes_inside_a_field_are_kept(tmp_path: Path) -> None:
    table, faults = _read(tmp_path, HEADER + '1,shoe,22" wheel,train\n2,shoe,"the ""best"", really",train\n')
    assert _titles(table) == {"1": '22" wheel', "2": 'the "best", really'}
    assert not faults


def test_the_first_of_two_rows_with_one_id_is_kept(tmp_path: Path) -> None:
    table, faults = _read(tmp_path, HEADER + "1,shoe,One,train\n 1 ,shirt,Again,train\n,shirt,None,train\n")
    assert _titles(table) == {"1": "One"}
    assert faults.counts == {"duplicate id": 1, "empty id": 1}
    assert faults.examples["duplicate id"][0].message == "the id already stands in line 2"


def test_byte_order_mark_windows_line_ends_and_line_separators_are_read(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + (HEADER + "1,shoe,a\u2028b\x85c,train\n").replace("\n", "\r\n").encode()
    table, faults = _read(tmp_path, content)
    assert table.columns == ("id", "kind", "title", "split")
    assert _titles(table) == {"1": "a\u2028b\x85c"}
    assert not faults


def test_bytes_that_are_not_utf8_are_replaced_and_counted(tmp_path: Path) -> None:
    table, faults = _read(tmp_path, HEADER.encode() + b"1,shoe,caf\xe9,train\n2,shoe,Two,train\n")
    assert _titles(table) == {"1": "caf\ufffd", "2": "Two"}
    assert faults.counts == {"undecodable text": 1}
    assert faults.examples["undecodable text"][0].line == 2


def test_a_column_that_the_config_names_and_the_table_lacks_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        _read(tmp_path, "id,name,split\n1,One,train\n")
    message = str(caught.value)
    assert "'title' (modalities.text.columns)" in message
    assert "'kind' (tasks.kind.column)" in message
    assert "the columns are id, name, split" in message


def test_a_column_that_a_file_name_needs_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text(HEADER + "1,shoe,One,train\n")
    modalities = {"image": {"kind": "image", "path": "images/{photo}.jpg"}}
    with Source(tmp_path, "styles.csv") as source, pytest.raises(DataError, match=r"'photo' \(modalities.image.path\)"):
        read_table(source, config(modalities=modalities), Faults())


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column kind stands in the header more than once"):
        _read(tmp_path, "id,kind,kind,title\n1,shoe,shirt,One\n")


@pytest.mark.parametrize("content", ["", "\n", HEADER, HEADER + "1,shoe\n"])
def test_a_table_without_a_usable_row_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"styles\.csv: (the table is empty|no usable row)"):
        _read(tmp_path, content)


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    one, _ = _read(tmp_path, HEADER + "1,shoe,One,train\n")
    same, _ = _read(tmp_path, HEADER + "1,shoe,One,train\n")
    other, _ = _read(tmp_path, HEADER + "1,shoe,One!,train\n")
    assert one.fingerprint == same.fingerprint != other.fingerprint
