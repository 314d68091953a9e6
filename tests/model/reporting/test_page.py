"""The page: one file of well-formed HTML, with a section a task, and nothing in it that is not text or a drawing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from model.bundle import Bundle, load_bundle
from model.config import Config, parse_config
from model.history import Epoch
from model.reporting.charts import CELL
from model.reporting.page import render
from tests.model.reporting.made import report_of
from tests.support.tiny import make_tiny_bundle, tiny_config, tiny_document

EVIL = "<script>alert('x')</script> & \"quoted\" \x07"


def made(folder: Path, config: Config | None = None) -> Bundle:
    return load_bundle(make_tiny_bundle(folder, config=config))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made(tmp_path_factory.mktemp("bundles") / "tiny")


def parsed(page: str) -> ElementTree.Element:
    """The page as a tree; the templates close every element, so that XML's rule, which is stricter, holds too."""
    head, _, rest = page.partition("\n")
    assert head == "<!DOCTYPE html>"
    return ElementTree.fromstring(rest)


def text(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


def section(tree: ElementTree.Element, title: str) -> ElementTree.Element:
    (found,) = [s for s in tree.iter("section") if text(s.find("h2")) == title]  # type: ignore[arg-type]
    return found


def headings(element: ElementTree.Element) -> list[str]:
    return [text(heading) for heading in element.iter("h3")]


def epochs(config: Config, count: int = 3, **changes: Any) -> list[Epoch]:
    return [
        Epoch(
            epoch=number + 1,
            loss=1 / (number + 1),
            score=0.1 * number,
            minutes=number + 1.0,
            validation={pattern: dict.fromkeys(config.tasks, 0.2 * number) for pattern in ("image+text", "image")},
            **changes,
        )
        for number in range(count)
    ]


def test_every_task_has_a_section_that_the_contents_lead_to(bundle: Bundle) -> None:
    tree = parsed(render(bundle, report_of(bundle)))
    titles = [text(h) for h in tree.iter("h2")]
    assert titles == ["Tables", "Learning curves", "Task relation", "colour", "audience", "sporty", "price", "year"]
    places = {element.get("id") for element in tree.iter() if element.get("id")}
    links = [link.get("href", "") for link in tree.iter("a")]
    assert len(links) == len(titles)
    assert all(link.startswith("#") and link[1:] in places for link in links)


def test_the_tables_hold_every_task_and_input(bundle: Bundle) -> None:
    report = report_of(bundle)
    tables = list(section(parsed(render(bundle, report)), "Tables").iter("table"))
    captions = [text(table.find("caption")).partition(".")[0] for table in tables]  # type: ignore[arg-type]
    assert captions[:5] == [
        "Accuracy",
        "Macro-F1",
        "Expected calibration error",
        "Calibration error by chance",
        "Rows with a label",
    ]
    assert captions[5:7] == ["Mean absolute error", "R²"]
    assert captions[7].startswith("Coverage")
    cells = {
        (row[0], setup): value
        for rows in [[[text(cell) for cell in row] for row in tables[0].iter("tr")]]
        for row in rows[1:]
        for setup, value in zip(rows[0][1:], row[1:], strict=True)
    }
    for setup, results in report["results"].items():
        for task in ("colour", "audience", "sporty", "year"):
            assert cells[task, setup] == f"{results[task]['accuracy']:.3f}"
    assert ("price", "image") not in cells


def test_a_section_shows_what_its_kind_has(bundle: Bundle) -> None:
    report = report_of(bundle)
    tree = parsed(render(bundle, report))
    for task in ("colour", "audience", "sporty", "year"):
        found = section(tree, task)
        assert headings(found) == ["Reliability", "Confusion pairs"], task
        assert len(list(found.iter("svg"))) == 3, "a curve a pattern"
        assert text(found).count("ECE") == 3
        assert f"ECE {report['results']['image'][task]['ece']:.3f}" in text(found)
    price = section(tree, "price")
    assert headings(price) == []
    assert not list(price.iter("svg"))
    assert f"{report['results']['text']['price']['mae']:.3f}" in text(price)
    covered = report["coverage"]["text"]["price"]["0.9"]
    assert f"{covered['covered']:.3f} ({covered['width']:.3f} wide)" in text(price)


def test_confusion_pairs_stand_in_their_order(bundle: Bundle) -> None:
    report = report_of(bundle)
    pairs = [
        {"true": "blue", "predicted": "red", "count": 7, "of": 30},
        {"true": "red", "predicted": "", "count": 2, "of": 9},
    ]
    report["confusions"]["image"]["colour"] = pairs
    report["confusions"]["text"]["colour"] = []
    tables = {
        text(table.find("caption")): [[text(cell) for cell in row] for row in table.iter("tr")]  # type: ignore[arg-type]
        for table in section(parsed(render(bundle, report)), "colour").iter("table")
        if table.find("caption") is not None
    }
    assert tables["image"] == [["true", "predicted", "rows"], ["blue", "red", "7 of 30"], ["red", "none", "2 of 9"]]
    assert tables["text: no mistake"] == []


def drawn(svg: ElementTree.Element, names: list[str]) -> dict[tuple[str, str], str]:
    """What a heat map says where: (row, column) -> text."""
    cells = {}
    for value in svg.iter("text"):
        if "value" in value.get("class", ""):
            k, j = (int(float(value.get(axis, "")) // CELL) for axis in "yx")
            cells[names[k], names[j]] = text(value)
    return cells


def test_the_relation_is_drawn(bundle: Bundle) -> None:
    names = list(bundle.config.tasks)
    relation = [[0] * len(names) for _ in names]
    relation[0][2] = relation[0][3] = relation[4][0] = 1
    affinity = {k: {j: 0.25 * relation[names.index(k)][names.index(j)] for j in names if j != k} for k in names}
    related = dataclasses.replace(bundle, relation=relation, provenance={"affinity": affinity})
    maps = list(section(parsed(render(related, report_of(related))), "Task relation").iter("svg"))
    reads = {("colour", "sporty"), ("colour", "price"), ("year", "colour")}
    assert [drawn(svg, names) for svg in maps] == [
        dict.fromkeys(reads, ".25"),
        dict.fromkeys(reads, "1"),
        {(k, j): f"{w:.2f}".replace("0.", ".") if w < 1 else "1" for k, row in related.relation_weights().items()
         for j, w in row.items()},
    ]  # fmt: skip
    for svg in maps:
        assert [text(t) for t in svg.iter("text") if "value" not in t.get("class", "")] == 2 * names
    without = list(section(parsed(render(bundle, report_of(bundle))), "Task relation").iter("svg"))
    assert len(without) == 2, "no affinity where T was not estimated from one"


def test_learning_curves_are_drawn_from_the_history(bundle: Bundle) -> None:
    tree = parsed(render(dataclasses.replace(bundle, history=epochs(bundle.config)), report_of(bundle)))
    assert len(list(section(tree, "Learning curves").iter("svg"))) == 2
    colour = section(tree, "colour")
    assert headings(colour)[-1] == "Learning curve on the validation rows"
    drawn = list(colour.iter("svg"))[-1]
    assert len(list(drawn.iter("polyline"))) == 2, "a line for each pattern that was validated"
    assert "keeps no history" in text(section(parsed(render(bundle, report_of(bundle))), "Learning curves"))


def test_what_users_named_is_text_and_never_markup(tmp_path: Path) -> None:
    document = tiny_document(name="evil")
    tasks = document["tasks"]
    tasks["colour"]["labels"] = [EVIL, "</style><img src=x onerror=alert(1)>", "</svg>"]
    tasks["<b>shape</b>"] = {"kind": "multiclass", "labels": ["a", "b"]}
    evil = made(tmp_path / "evil", parse_config(document))
    page = render(evil, report_of(evil, command="trunkline evaluate <i>x</i>"))
    assert "<script" not in page
    assert "<img" not in page
    assert "\x07" not in page
    tree = parsed(page)
    assert section(tree, "<b>shape</b>") is not None
    assert EVIL.replace("\x07", "�") in text(section(tree, "colour"))
    assert "<i>x</i>" in text(tree)


def test_the_page_asks_for_nothing_from_anywhere(bundle: Bundle) -> None:
    page = render(dataclasses.replace(bundle, history=epochs(bundle.config)), report_of(bundle))
    tree = parsed(page)
    assert not {element.tag for element in tree.iter()} & {"script", "link", "img", "iframe", "object", "use", "image"}
    attributes = {name for element in tree.iter() for name in element.attrib}
    assert not attributes & {"src", "srcset", "action", "style"}
    assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import", page)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page


def test_patterns_that_were_not_measured_are_left_out(bundle: Bundle) -> None:
    report = report_of(bundle)
    for part in ("results", "coverage", "reliability", "confusions"):
        del report[part]["image"]
    del report["coverage"]["text"]["colour"]["0.95"]
    report["coverage"]["text"].pop("year")
    tree = parsed(render(bundle, report))
    assert len(list(section(tree, "colour").iter("svg"))) == 2


def test_a_task_without_a_labelled_row_has_a_section_all_the_same(bundle: Bundle) -> None:
    report = report_of(bundle)
    for setup in report["results"]:
        report["results"][setup]["colour"] = {"count": 0}
        for part in ("coverage", "reliability", "confusions"):
            report[part][setup].pop("colour", None)
    found = section(parsed(render(bundle, report)), "colour")
    assert headings(found) == []
    assert [text(cell) for cell in next(row for row in found.iter("tr") if row[0].text == "image")] == ["image", "0"]


def test_numbers_alone(tmp_path: Path) -> None:
    config = tiny_config(tasks={"price": {"kind": "regression", "scale": [20.0, 5.0]}})
    bundle = made(tmp_path / "numbers", config)
    tree = parsed(render(bundle, report_of(bundle)))
    titles = [text(table.find("caption")).partition(".")[0] for table in section(tree, "Tables").iter("table")]  # type: ignore[arg-type]
    assert titles[:3] == ["Rows with a label", "Mean absolute error", "R²"]
    assert len(titles) == 4, "and the coverage of intervals"


def test_a_split_that_training_knew_is_said_to_be_one(bundle: Bundle) -> None:
    assert "Training saw this split" not in render(bundle, report_of(bundle))
    assert "Training saw this split" in render(bundle, report_of(bundle, split="val"))


def test_what_was_masked_is_said_to_be_outside_of_what_was_promised(bundle: Bundle) -> None:
    assert "promise nothing for masked" not in render(bundle, report_of(bundle))
    assert "promise nothing for masked" in render(bundle, report_of(bundle, masked=["masked text"]))
