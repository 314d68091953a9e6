"""The study as pictures: how answers get better with data, and what each idea adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from model.study.statistics import Difference, Results
from model.study.variants import IDEAS, by_name

mpl.use("agg")
# The same figures give the same file; letters stay letters, which is smaller.
mpl.rcParams |= {"svg.hashsalt": "study", "svg.fonttype": "none", "font.size": 8, "font.family": "sans-serif"}

_CURVES = ("majority", "tfidf", "image_only", "text_only", "concat", "alpha", "gated", "cross_attention")


def curves(results: Results, setups: Sequence[str], path: Path) -> None:
    """Mean accuracy over tasks against the share of the training data, a panel a way to ask."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(2.3 * len(setups), 2.6), layout="constrained")
    axes = canvas.subplots(1, len(setups), sharey=True, squeeze=False)[0]
    for axis, setup in zip(axes, setups, strict=True):
        for number, name in enumerate(_CURVES):
            points = [
                (share.fraction * 100, figure)
                for share in results.plan.shares
                if (line := results.line(name, share)) and (figure := line.figure(setup, "accuracy"))
            ]
            if points:
                axis.errorbar(
                    [x for x, _ in points],
                    [figure.mean for _, figure in points],
                    [figure.deviation or 0.0 for _, figure in points],
                    color=f"C{number}",
                    marker="o",
                    markersize=3,
                    linewidth=1,
                    label=by_name(name).title,
                )
        axis.set_title(setup)
        axis.set_xscale("log")
        axis.set_xticks([share.fraction * 100 for share in results.plan.shares])
        axis.set_xticklabels([share.title for share in results.plan.shares])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("accuracy, mean over tasks")
    handles, labels = [], []
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    canvas.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    _save(canvas, path)


def effects(results: Results, metric: str, setups: Sequence[str], path: Path) -> None:
    """What each idea adds, in points, with its 95 % interval: a panel a way to ask, a colour a share."""
    from matplotlib.figure import Figure as Canvas

    rows: list[tuple[str, list[Difference]]] = []
    for idea in IDEAS:
        for pair in idea.pairs:
            differences = [d for d in results.differences(idea, pair) if d.metric == metric]
            if differences and not idea.across:
                rows.append((f"{by_name(pair[0]).title} − {by_name(pair[1]).title}", differences))
    if not rows:
        return
    canvas = Canvas(figsize=(2.6 + 1.7 * len(setups), 0.8 + 0.26 * len(rows)), layout="constrained")
    axes = canvas.subplots(1, len(setups), sharey=True, squeeze=False)[0]
    shares = results.plan.shares
    for axis, setup in zip(axes, setups, strict=True):
        axis.axvline(0, color="black", linewidth=0.6)
        for number, share in enumerate(shares):
            points = [
                (row + 0.22 * (number - (len(shares) - 1) / 2), d)
                for row, (_, differences) in enumerate(rows)
                for d in differences
                if d.setup == setup and d.share == share
            ]
            if points:
                axis.errorbar(
                    [d.mean * 100 for _, d in points],
                    [y for y, _ in points],
                    xerr=[(d.half or 0.0) * 100 for _, d in points],
                    fmt="o",
                    markersize=2.5,
                    linewidth=0.8,
                    color=f"C{number}",
                    label=share.title,
                )
        axis.set_title(setup)
        axis.grid(axis="x", alpha=0.3)
        # Wide intervals of few seeds would flatten everything else.
        widest = max((abs(d.mean) * 100 for _, ds in rows for d in ds if d.setup == setup), default=1.0)
        axis.set_xlim(-1.6 * widest - 0.5, 1.6 * widest + 0.5)
    axes[0].set_yticks(range(len(rows)), [title for title, _ in rows])
    axes[0].invert_yaxis()
    canvas.supxlabel(f"{metric.replace('_', '-')}, points", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper right", ncols=len(shares), frameon=False)
    _save(canvas, path)


def _save(canvas: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, format="svg", metadata={"Date": None})
