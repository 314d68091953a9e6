"""`trunkline init` as a person meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from app.cli import cli
from model.config import load_config
from tests.model.proposal.made import books, homes, write_csv


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that breaks no word that a test looks for."""
    monkeypatch.setenv("COLUMNS", "200")


def test_it_shows_every_column_with_the_reason_and_writes_a_config(tmp_path: Path) -> None:
    table = homes(tmp_path / "data")
    out = tmp_path / "new" / "homes.yaml"
    result = CliRunner().invoke(cli, ["init", str(table), "--out", str(out)])
    assert result.exit_code == 0
    for word in ("listing_id", "regression", "18 rows (20%) without a value", "constant: 'EUR' in 90 rows", "divided"):
        assert word in result.output
    assert f"trunkline train {out} --data {tmp_path / 'data'} --out weights/homes" in result.output
    config = load_config(out)
    assert list(config.tasks) == ["price", "rooms", "type", "furnished"]
    text = out.read_text(encoding="utf-8")
    assert "# 5 steps on a scale, 1 to 5\n" in text
    assert "#   currency: constant: 'EUR' in 90 rows" in text
    assert "groups: [agent_id]  # rows with the same value stay in one split" in text


def test_it_does_not_overwrite_unless_told_to(tmp_path: Path) -> None:
    table = books(tmp_path / "data")
    out = tmp_path / "config.yaml"
    out.write_text("mine")
    result = CliRunner().invoke(cli, ["init", str(table), "--out", str(out)])
    assert result.exit_code == 2
    assert "is there already; give --force" in result.stderr
    assert out.read_text() == "mine"
    assert CliRunner().invoke(cli, ["init", str(table), "--out", str(out), "--force"]).exit_code == 0
    assert load_config(out).name == "books"


def test_a_table_that_cannot_be_used_is_an_error_without_a_file(tmp_path: Path) -> None:
    out = tmp_path / "config.yaml"
    for path, said in ((tmp_path / "absent.csv", "no such table"), (tmp_path, "no such table")):
        result = CliRunner().invoke(cli, ["init", str(path), "--out", str(out)])
        assert result.exit_code == 2
        assert said in result.stderr
    assert not out.exists()


def test_values_from_the_table_cannot_break_out_of_comments_or_markup(tmp_path: Path) -> None:
    rows = 60
    evil = "a\nname: evil\n# [red]"
    table = {
        "title [bold]": [f"A title of its own {n}" for n in range(rows)],
        "yes": [[evil, "b: {", "c"][n * n % 7 % 3] for n in range(rows)],
        "constant\nname: worse": ["[/red] x\nname: worst"] * rows,
        "on": ["no" if n % 3 else "yes" for n in range(rows)],
    }
    out = tmp_path / "config.yaml"
    result = CliRunner().invoke(cli, ["init", str(write_csv(tmp_path / "t t.csv", table)), "--out", str(out)])
    assert result.exit_code == 0, result.output
    config = load_config(out)
    assert config.name == "t-t"
    assert set(config.tasks) == {"yes", "on"}
    assert config.tasks["on"].labels == ("no", "yes")
    assert set(yaml.safe_load(out.read_text(encoding="utf-8"))["modalities"]["text"]["columns"]) == {"title [bold]"}
    assert "title [bold]" in result.output
