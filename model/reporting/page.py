"""The page: a report as one HTML file with its drawings in it, which asks for nothing from anywhere.

Drawn by Jinja2, which torch brings along: it escapes what comes from users' data, and the drawings are simple enough
to be SVG in a template. matplotlib would write some 20 kB a drawing, of which a page has dozens, in fixed colours.
"""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from model.bundle import Bundle
from model.calibration import pattern_key, patterns_of
from model.config import Task
from model.coverage import ASKED
from model.reporting import charts
from model.reporting.tables import coverage_at, covered, familiarity_of, figure, table_of

_METRICS = (
    (
        "accuracy",
        "Accuracy",
        "The share of rows that are answered right; for a multilabel task, in all its labels.",
    ),
    ("macro_f1", "Macro-F1", "The mean over classes of F1, however rare they are; over labels for a multilabel task."),
    (
        "ece",
        "Expected calibration error",
        "How far confidences are from the share that is right, over 15 bins of equal width (Guo et al., 2017).",
    ),
    (
        "ece_chance",
        "Calibration error by chance",
        "What a network would show on so many rows whose confidences were the same and exactly right.",
    ),
    ("count", "Rows with a label", "What the figures are taken over."),
    ("mae", "Mean absolute error", "In the unit of the labels."),
    ("r2", "R²", "The share of the labels' variance that is explained."),
)
# Control characters, surrogates and what Unicode calls noncharacters.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_ASKED = [f"{asked:g}" for asked in ASKED]


def render(bundle: Bundle, report: dict[str, Any]) -> str:
    """The page for a report of `model.reporting.measure`, with split, date, command and machine added to it."""
    environment = Environment(
        loader=PackageLoader("model.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    environment.filters["covered"] = covered
    setups = list(report["results"])
    return environment.get_template("page.html").render(
        bundle=bundle,
        report=report,
        setups=setups,
        asked=_ASKED,
        tables=[(title, note, table) for key, title, note in _METRICS if (table := table_of(report, key)).rows],
        coverage=coverage_at(report, "0.9"),
        familiarity=familiarity_of(report),
        training=_training(bundle),
        relation=_relation(bundle),
        tasks=[_task(name, task, bundle, report) for name, task in bundle.config.tasks.items()],
    )


def _task(name: str, task: Task, bundle: Bundle, report: dict[str, Any]) -> dict[str, Any]:
    """What the section of a task shows."""

    def part(key: str) -> dict[str, Any]:
        return {setup: tasks[name] for setup, tasks in report[key].items() if name in tasks}

    return {
        "name": name,
        "task": task,
        "results": part("results"),
        "metrics": [(key, title) for key, title, _ in _METRICS if any(key in r for r in part("results").values())],
        "coverage": part("coverage"),
        "curves": {setup: charts.curve(bins) for setup, bins in part("reliability").items()},
        "confusions": part("confusions"),
        "training": _validation(bundle, name),
    }


def _training(bundle: Bundle) -> dict[str, charts.Lines | None]:
    """The curves of the whole run: title -> chart."""
    epochs = bundle.history
    at = [epoch.epoch for epoch in epochs]
    return {
        "Loss on the training rows": charts.lines(at, {"loss": [epoch.loss for epoch in epochs]}),
        "Mean score on the validation rows": charts.lines(at, {"score": [epoch.score for epoch in epochs]}),
    }


def _validation(bundle: Bundle, task: str) -> charts.Lines | None:
    """A task's score after each epoch, a line a pattern that was seen."""
    epochs = bundle.history
    patterns = {pattern: " + ".join(pattern) for pattern in patterns_of(bundle.config)}
    return charts.lines(
        [epoch.epoch for epoch in epochs],
        {
            title: [epoch.validation.get(pattern_key(pattern), {}).get(task) for epoch in epochs]
            for pattern, title in patterns.items()
        },
    )


def _relation(bundle: Bundle) -> list[tuple[str, str, charts.HeatMap]]:
    """The matrices between tasks: (title, note, map)."""
    names = list(bundle.config.tasks)
    affinity = bundle.provenance.get("affinity")
    maps = []
    if affinity:
        rows = [[affinity[k].get(j, 0.0) for j in names] for k in names]
        note = f"What T was estimated from; related from {bundle.config.relation.threshold:g} on."
        maps.append(("Affinity", note, charts.heat_map(names, rows)))
    maps.append(("T", "1 lets the row's task read from the column's.", charts.heat_map(names, bundle.relation)))
    weights = bundle.relation_weights()
    maps.append(
        (
            "R",
            "How much the row's task reads from the column's, as training weighed it; a row sums to 1.",
            charts.heat_map(names, [[weights[k].get(j, 0.0) for j in names] for k in names]),
        )
    )
    return maps


def _printable(value: Any) -> Any:
    """Text without the characters that no HTML may hold."""
    return type(value)(_UNPRINTABLE.sub("�", value)) if isinstance(value, str) else value
