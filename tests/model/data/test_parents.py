"""Which class lies in which is learnt from the training rows, and rows that say otherwise are told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.config import Task
from model.data import DataError, Faults, load_dataset
from model.data.labels import learn_task
from model.data.parents import learn_parents
from model.data.table import Row
from tests.model.proposal.made import write_csv
from tests.support.tiny import tiny_config


def _rows(*pairs: str) -> list[Row]:
    """Rows such as "shirt top": an article and its kind."""
    fields = [dict(zip(("article", "kind"), pair.split(" "), strict=True)) for pair in pairs]
    return [Row(line, f"id{line}", values) for line, values in enumerate(fields, start=2)]


def _learn(*pairs: str, given: dict[str, str] | None = None) -> tuple[dict[str, str], Faults]:
    rows, faults = _rows(*pairs), Faults()
    tasks = {name: learn_task(name, Task(kind="multiclass"), rows, Faults()) for name in ("article", "kind")}
    tasks["article"] = tasks["article"].model_copy(update={"parents": given or {}})
    learnt = learn_parents([("article", "kind")], tasks, rows, faults)
    assert not learnt["kind"].parents
    return learnt["article"].parents, faults


def test_each_class_lies_where_its_rows_say() -> None:
    parents, faults = _learn("shirt top", "jeans bottom", "blouse top", "shirt top")
    assert parents == {"blouse": "top", "jeans": "bottom", "shirt": "top"}
    assert list(parents) == ["blouse", "jeans", "shirt"], "in the order of the labels"
    assert not faults


def test_of_several_the_most_frequent_counts_and_the_others_are_told_of() -> None:
    parents, faults = _learn("belt top", "belt belts", "belt belts", "shirt top", "tie top", "tie belts")
    assert parents == {"belt": "belts", "shirt": "top", "tie": "belts"}
    assert faults.counts == {"against the hierarchy": 2}
    first = faults.examples["against the hierarchy"][0]
    assert (first.line, first.id, first.message) == (2, "id2", "article 'belt' is kind 'belts', not 'top'")


def test_parents_that_the_config_gives_are_kept() -> None:
    parents, faults = _learn("belt top", "belt top", "shirt top", "tie belts", given={"belt": "belts"})
    assert parents["belt"] == "belts"
    assert faults.counts == {"against the hierarchy": 2}


@pytest.mark.parametrize("given", [{"hat": "top"}, {"belt": "hats"}])
def test_parents_of_classes_that_there_are_not_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"tasks\.article\.parents: no training row has"):
        _learn("belt top", "shirt top", "tie belts", given=given)


def test_classes_without_a_place_are_told_of() -> None:
    parents, faults = _learn("belt top", "belt top", "shirt ", "shirt ", "belt gift", "belt gift", "belt top")
    assert parents == {"belt": "top"}
    assert faults.counts == {"against the hierarchy": 2, "class without a place": 2}
    told = [example.message for example in faults.examples["class without a place"]]
    assert told == ["article: which kind 'shirt' belongs to, no row says", "kind: no article is 'gift'"]


def test_columns_that_never_meet_are_refused() -> None:
    with pytest.raises(DataError, match=r"article → kind: no training row has a class of both"):
        _learn("belt ", "shirt ", " top", " gift")


def test_training_rows_alone_teach_it_and_a_bundle_s_own_is_kept(tmp_path: Path) -> None:
    rows = 40
    table = {
        "id": list(range(rows)),
        "title": [f"a title of its own {n}" for n in range(rows)],
        "article": [["shirt", "belt"][n % 2] for n in range(rows)],
        # In the rows that are not for training, every belt is a top.
        "kind": ["top" if n % 2 == 0 or n >= 20 else "belts" for n in range(rows)],
        "split": ["train" if n < 20 else "val" if n < 30 else "test" for n in range(rows)],
    }
    tasks = {name: {"kind": "multiclass"} for name in ("article", "kind")}
    config = tiny_config(
        data={"table": "t.csv"},
        modalities={"text": {"kind": "text", "columns": ["title"]}},
        tasks=tasks,
        hierarchies=[["article", "kind"]],
    )
    path = write_csv(tmp_path / "t.csv", table)
    learnt = load_dataset(config, path)
    assert learnt.config.tasks["article"].parents == {"belt": "belts", "shirt": "top"}
    other = learnt.config.model_copy(
        update={"tasks": {n: t.model_copy(update={"parents": {"belt": "top"}}) for n, t in learnt.config.tasks.items()}}
    )
    again = load_dataset(config, path, labels_from=other, splits=("test",))
    assert again.config.tasks["article"].parents == {"belt": "top"}
