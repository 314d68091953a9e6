"""A report's figures as tables, as the card, the page and the terminal show them."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from model.reporting.tables import coverage_at, covered, familiarity_of, figure, table_of
from model.reporting.terminal import tables

REPORT: dict[str, Any] = {
    "tasks": ["colour", "[b]price[/b]"],
    "split": "test",
    "results": {
        "image": {"colour": {"count": 1200, "accuracy": 0.5, "ece": 0.0123}, "[b]price[/b]": {"count": 0}},
        "text": {"colour": {"count": 0}, "[b]price[/b]": {"count": 3, "mae": 12345.6, "r2": -0.5}},
    },
    "coverage": {
        "image": {"colour": {"0.9": {"covered": 0.91, "size": 1.5}}},
        "text": {"[b]price[/b]": {"0.8": {"covered": 0.8, "width": 10.0}}},
    },
}


def test_a_table_has_the_tasks_that_have_the_figure_and_a_gap_where_one_is_missing() -> None:
    table = table_of(REPORT, "accuracy")
    assert table.columns == ["image", "text"]
    assert table.rows == [("colour", ["0.500", ""])]
    assert table_of(REPORT, "macro_f1").rows == []
    assert table_of(REPORT, "count").rows == [("colour", ["1,200", "0"]), ("[b]price[/b]", ["0", "3"])]


def test_coverage_is_that_of_the_level_that_was_asked_for() -> None:
    assert coverage_at(REPORT, "0.9").rows == [("colour", ["0.910 (1.50)", ""])]
    assert coverage_at(REPORT, "0.9", sizes=False).rows == [("colour", ["0.910", ""])]
    assert coverage_at(REPORT, "0.8").rows == [("[b]price[/b]", ["", "0.800 (10.000 wide)"])]


def test_figures_have_as_many_digits_as_say_something() -> None:
    assert (figure(0.12345), figure(-1.5), figure(12345.6)) == ("0.123", "-1.500", "12,346")
    assert covered({"covered": 0.9, "width": 20000.0}) == "0.900 (20,000 wide)"


def test_the_terminal_shows_names_as_they_are_and_only_what_there_is() -> None:
    console = Console(width=100)
    with console.capture() as captured:
        for table in tables(REPORT):
            console.print(table)
    said = " ".join(captured.get().split())
    assert "[b]price[/b]" in said, "no markup"
    assert "expected calibration error on test" in said
    assert "coverage on test where 0.9 is asked for" in said
    assert "macro_f1" not in said


def test_familiarity_stands_there_for_reports_that_have_it() -> None:
    assert familiarity_of(REPORT).rows == []
    unlike = {"noise": {"count": 9, "auroc": 0.99876, "below": {"0.05": 1.0, "0.01": 0.9}}}
    report = REPORT | {
        "familiarity": {"image": {"rows": 1200, "below": {"0.05": 0.051, "0.01": 0.012}, "unlike": unlike}}
    }
    table = familiarity_of(report)
    assert table.columns == ["AUROC", "below 0.05", "below 0.01"]
    assert table.rows == [("image: test", ["", "0.051", "0.012"]), ("image: noise", ["0.9988", "1.000", "0.900"])]
    titles = [str(shown.title) for shown in tables(report)]
    assert "familiarity of ordinary and of strange inputs" in titles
    assert len(titles) == len(list(tables(REPORT))) + 1
