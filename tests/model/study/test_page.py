"""The page says what the results say: where an idea helps, where it does not, and what was not measured."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from model.study.page import BEGIN, END, verdict, write_page
from model.study.statistics import Difference, Results
from tests.model.study.made import plan_of, write

NAMES = ["base", "tfidf", "alpha", "concat", "gated", "cross_modal", "no_cross_modal", "relation_given"]
MADE = {
    "base": {0.05: [0.6, 0.7, 0.8], 1.0: [0.9]},
    "tfidf": {0.05: [0.5, 0.5, 0.5], 1.0: [0.8]},
    "concat": {0.05: [0.59, 0.69, 0.791], 1.0: [0.89]},
    "gated": {0.05: [0.5, 0.6, 0.69], 1.0: [0.88]},
    "no_cross_modal": {0.05: [0.5, 0.8, 0.8], 1.0: [0.9]},
}


def made(tmp_path: Path) -> tuple[Results, Path]:
    plan = plan_of(NAMES)
    write(plan, tmp_path / "out", MADE)
    return Results(plan, tmp_path / "out"), tmp_path / "docs" / "study.md"


def section(text: str, title: str) -> str:
    return text.partition(f"### {title}")[2].partition("\n#")[0]


def written(tmp_path: Path) -> str:
    results, page = made(tmp_path)
    page.parent.mkdir()
    write_page(results, page, "trunkline study")
    return page.read_text(encoding="utf-8")


def test_verdicts_follow_from_the_figures(tmp_path: Path) -> None:
    text = written(tmp_path)
    fusion = section(text, "Modality fusion")
    alpha, gated = [line for line in fusion.splitlines() if line.startswith("- ")]
    assert alpha.startswith("- α fusion, against concatenation: **helps**. Better in 4, worse in 0,")
    assert "| α fusion, against concatenation | 5 % | accuracy | **+1.0 ±0.1** | **+1.0 ±0.1** |" in fusion
    assert gated.startswith(
        "- gated unit, against concatenation: **does not help; it harms**. Better in 0, worse in 4,"
    )
    assert "| gated unit, against concatenation | 5 % | accuracy | **−9.4 ±1.6** |" in fusion
    (harms,) = [line for line in text.splitlines() if line.startswith("- **Does not help; it harms**: ")]
    assert "gated unit, against concatenation (modality fusion, against concatenation)" in harms
    cross = section(text, "The cross-modal block")
    assert "**does not help, as far as this many seeds can tell**" in cross
    assert "within the spread in 4 of 4 comparisons" in cross
    assert "| 5 % | accuracy | +0.0 ±24.8 |" in cross
    across = section(text, "A network rather than a linear model of the words")
    assert "| 5 % | accuracy | +20.0 ±24.8 |" in across


def test_what_chance_gives_is_no_help(tmp_path: Path) -> None:
    share = plan_of(["base"]).shares[0]
    open_ones = [Difference(share, "image", "accuracy", 0.1, 0.2)] * 9
    certain = Difference(share, "text", "accuracy", 0.3, 0.2)
    assert verdict([*open_ones, certain]) == "does not help, as far as this many seeds can tell"
    assert verdict([*open_ones, certain, certain]) == "helps in places"


def test_one_seed_and_other_epochs_are_said(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert "**Fewer than 3 seeds** at 100 %" in text
    assert "**Epochs differ**" in text
    assert "| α fusion, against concatenation | 100 % | accuracy | +1.0 | +1.0 |" in section(text, "Modality fusion")
    assert "Left out: T given (" in text
    assert "Unfinished" not in text


def test_an_unfinished_study_says_so(tmp_path: Path) -> None:
    plan = plan_of(["base"])
    write(plan, tmp_path, {"base": {0.05: [0.5]}})
    write_page(Results(plan, tmp_path), tmp_path / "study.md", "trunkline study")
    assert "**Unfinished**: 3 cells" in (tmp_path / "study.md").read_text(encoding="utf-8")


def test_tables_hold_means_spreads_and_cost(tmp_path: Path) -> None:
    text = written(tmp_path)
    row = next(line for line in text.splitlines() if line.startswith("| the base config, α fusion, with the cross"))
    assert row.split(" | ")[1] == ".700 ±.100 / .350 ±.050"
    assert row.endswith("| 0.00 M | 1.0 | 1.5 |")
    assert "| TF-IDF + logistic regression | – | .500 ±.000 / .250 ±.000 |" in text
    assert "<summary>5 %, masked text</summary>" in text


def test_words_around_the_marks_stay_and_results_are_replaced(tmp_path: Path) -> None:
    results, page = made(tmp_path)
    page.parent.mkdir()
    page.write_text(f"# Title\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n", encoding="utf-8")
    write_page(results, page, "trunkline study")
    once = page.read_text(encoding="utf-8")
    assert once.startswith(f"# Title\n\nBefore.\n\n{BEGIN}\n")
    assert once.endswith(f"{END}\n\nAfter.\n")
    assert "old" not in once
    pictures = {path: path.read_bytes() for path in (page.parent / "images").iterdir()}
    write_page(results, page, "trunkline study")
    assert page.read_text(encoding="utf-8") == once
    assert {path: path.read_bytes() for path in pictures} == pictures


def test_the_page_of_the_docs_has_its_marks() -> None:
    page = (Path(__file__).parents[3] / "docs" / "study.md").read_text(encoding="utf-8")
    assert page.count(BEGIN) == page.count(END) == 1


def test_plots_are_small_and_named_on_the_page(tmp_path: Path) -> None:
    text = written(tmp_path)
    named = re.findall(r"\]\((images/[^)]+)\)", text)
    assert len(named) == 3
    for name in named:
        path = tmp_path / "docs" / name
        assert path.stat().st_size < 100_000
        ElementTree.parse(path)
    drawn = (tmp_path / "docs" / "images" / "study-accuracy.svg").read_text(encoding="utf-8")
    assert "gated unit − concatenation" in drawn
