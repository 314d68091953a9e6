"""Whatever stands in a table, the file that is written says what was proposed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.config import load_config
from model.data import DataError, load_dataset
from model.proposal.document import render
from model.proposal.propose import propose
from tests.model.proposal.made import write_csv

_ROWS = 24
# Characters that a terminal obeys, YAML refuses, or a pattern of file names would take for its own.
_TEXT = st.text(st.sampled_from("ab 1|,;/:#-?{}[]'\"&*!%@`~\n\t\x00\x1b\x85\u2028é日😀"), min_size=1, max_size=8)
_NAMES = st.sampled_from(["id", "title", "split", "yes", "null", "model", "price", "user_id", "a: b", "# c"]) | _TEXT
_VALUES = (
    st.lists(_TEXT | st.just(""), min_size=2, max_size=4)
    | st.just([str(number) for number in range(_ROWS)])
    | st.sampled_from(
        [["yes", "no"], ["train", "val", "train", "test"], ["1", "2", "3", "nan"], ["1e999", "-0", "007"]]
    )
)


@given(st.lists(st.tuples(_NAMES, _VALUES), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_gives_a_config_that_reads_back_and_loads_or_is_refused(
    tmp_path: Path, columns: list[tuple[str, list[str]]]
) -> None:
    table = {name: (values * _ROWS)[:_ROWS] for name, values in columns}
    table["description"] = [f"some words of a text {number}" for number in range(_ROWS)]
    table["kind"] = ["abc"[number * number % 7 % 3] for number in range(_ROWS)]
    path = write_csv(tmp_path / "table.csv", table)
    try:
        proposal = propose(path)
    except DataError as error:
        pytest.fail(f"there is a text and a question, but: {error}")
    out = tmp_path / "config.yaml"
    out.write_text(render(proposal, out), encoding="utf-8")
    assert load_config(out) == proposal.config
    divisible = not any("cannot be divided" in note for note in proposal.notes)
    if divisible:
        load_dataset(proposal.config, path, cache=tmp_path / "cache")
