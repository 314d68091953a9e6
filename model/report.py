"""Evaluation of a bundle on a split, and the report and model card that are written into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from model.bundle import CARD, REPORT, Bundle, add_files
from model.data.dataset import Split
from model.metrics import labelled_rows
from model.predictor import build_network
from model.setups import measure_setups, run_setups
from model.training.batches import BatchMaker


def evaluate(
    bundle: Bundle,
    split: Split,
    device: torch.device,
    masked_words: frozenset[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure the calibrated answers for each set of modalities, and for texts without the words that name a label.

    `masked_words` replaces the words that the config's labels give. Rows without a label do not count.
    """
    network = build_network(bundle)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it
    maker = BatchMaker(bundle.config, split, bundle.tokenizers, masked_words)
    results = measure_setups(bundle.config, bundle.calibration, run_setups(network, maker, progress), split.labels)
    labelled = {
        name: int(labelled_rows(task, np.asarray(split.labels[name])).sum())
        for name, task in bundle.config.tasks.items()
    }
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {
        "tasks": list(bundle.config.tasks),
        "rows": len(split),
        "labelled": labelled,
        "parameters": parameters,
        "results": results,
    }


def write_report(bundle: Bundle, report: dict[str, Any]) -> None:
    """Write `report.json` and the model card `README.md` into the bundle's folder."""
    content = (json.dumps(report, indent=1) + "\n").encode()
    add_files(bundle.path, {REPORT: content, CARD: model_card(bundle, report).encode()})


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
    if any("masked" in setup for setup in report["results"]):
        lines.append(
            "*Masked* text lacks every word that names a label; samples that this leaves without input do not count."
        )
    lines += [""]
    for metric, title in (
        ("accuracy", "Accuracy (multilabel: all labels right)"),
        ("macro_f1", "Macro-F1"),
        ("mae", "Mean absolute error"),
        ("r2", "R²"),
    ):
        tasks = [t for t in report["tasks"] if any(metric in r[t] for r in report["results"].values())]
        if tasks:
            lines += [f"{title}:", "", "| input | " + " | ".join(tasks) + " |", "|---|" + "---:|" * len(tasks)]
            for setup, results in report["results"].items():
                cells = [f"{results[t][metric]:.3f}" if metric in results[t] else "–" for t in tasks]
                lines.append(f"| {setup} | " + " | ".join(cells) + " |")
            lines.append("")
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
        "for inputs like those of the data set.",
        "",
    ]
    return "\n".join(lines)
