"""The shipped bundle's page: there, small, and of the report beside it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from model.bundle import load_bundle

FASHION = Path(__file__).resolve().parents[3] / "weights" / "fashion"


def test_the_shipped_bundle_has_a_page_of_its_report() -> None:
    bundle = load_bundle(FASHION)
    page = (FASHION / "report.html").read_text(encoding="utf-8")
    assert "report.html" in (FASHION / "bundle.yaml").read_text(encoding="utf-8"), "under a checksum"
    assert len(page.encode()) < 300_000
    tree = ElementTree.fromstring(page.partition("\n")[2])
    titles = ["".join(heading.itertext()) for heading in tree.iter("h2")]
    assert titles[3:] == list(bundle.config.tasks)
    assert bundle.report is not None
    for setup, tasks in bundle.report["results"].items():
        for task, result in tasks.items():
            (section,) = [s for s in tree.iter("section") if s.findtext("h2") == task]
            rows = {"".join(row[0].itertext()): [cell.text for cell in row] for row in section.iter("tr")}
            assert f"{result['accuracy']:.3f}" in rows[setup]
            assert f"{result['ece']:.3f}" in rows[setup]
