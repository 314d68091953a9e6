"""The model card: what a bundle answers, from what it was made, how well it does, in Markdown."""

from __future__ import annotations

from typing import Any

from model.bundle import Bundle
from model.reporting.tables import Table, coverage_at, familiarity_of, table_of

_COVERAGE = "0.9"


def model_card(bundle: Bundle, report: dict[str, Any]) -> str:
    """The model card in Markdown: what it answers, from what it was made, how well it does."""
    provenance = bundle.provenance
    lines = [
        f"# {bundle.name} {bundle.version}",
        "",
        f"A Trunkline bundle with {report['parameters']:,} parameters. It reads "
        + ", ".join(f"`{n}` ({m.kind})" for n, m in bundle.config.modalities.items())
        + ", any of them alone too, and answers:",
        "",
        "| task | kind | classes |",
        "|---|---|---|",
    ]
    for name, task in bundle.config.tasks.items():
        lines.append(f"| {name} | {task.kind} | {len(task.labels) or '–'} |")
    lines += ["", f"## Measured on the {report['split']} split ({report['rows']:,} rows)", ""]
    lines += [f"By `{report['command']}`, {report['machine']}, {report['date']}."]
    if report["masked"]:
        lines.append(
            "*Masked* text lacks every word that names a label; samples that this leaves without input do not count."
        )
    lines += [""]
    if report["split"] != "test":
        lines += ["Training saw this split, or was steered by it: on unseen rows the figures are lower.", ""]
    for metric, title in (
        ("accuracy", "Accuracy (multilabel: all labels right)"),
        ("macro_f1", "Macro-F1"),
        ("mae", "Mean absolute error"),
        ("r2", "R²"),
        ("ece", "Expected calibration error (15 bins)"),
        ("ece_chance", "What a perfectly calibrated network would show of it on so many rows"),
    ):
        lines += _table(title, table_of(report, metric))
    lines += _table(
        f"Coverage measured where {_COVERAGE} is asked for (mean number of classes in a set, or width of an interval)",
        coverage_at(report, _COVERAGE),
    )
    lines += _table(
        "Familiarity: the area under the ROC curve between the split and strange inputs, and the share below a level",
        familiarity_of(report),
        "inputs",
    )
    lines += ["## Training", ""]
    for key in ("source", "command", "date", "machine", "torch", "precision", "epochs", "minutes", "note"):
        if provenance.get(key):
            lines.append(f"- {key.replace('_', ' ')}: {provenance[key]}")
    if "data" in provenance:
        data = provenance["data"]
        lines.append(
            f"- data: {data['train']:,} rows for training, {data['val']:,} for validation and calibration, "
            f"{data['test']:,} held out; SHA-256 of the table {data['fingerprint'][:16]}…"
        )
    lines += [
        "",
        "## Limits",
        "",
        "It knows the classes of its training data and no others, and answers something to any picture. Figures hold "
        "for inputs like those of the data set"
        + ("; `familiarity` in an answer tells how like them an input is." if "familiarity" in report else "."),
        "",
    ]
    return "\n".join(lines)


def _table(title: str, table: Table, of: str = "task") -> list[str]:
    if not table.rows:
        return []
    return [
        f"{title}:",
        "",
        f"| {of} | " + " | ".join(table.columns) + " |",
        "|---|" + "---:|" * len(table.columns),
        *(f"| {task} | " + " | ".join(cell or "–" for cell in cells) + " |" for task, cells in table.rows),
        "",
    ]
