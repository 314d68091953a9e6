"""The study's results as Markdown, between two marks in a page whose other words are written by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from model.bundle import write_atomically
from model.study.plan import Share
from model.study.plots import curves, effects
from model.study.statistics import METRICS, Difference, Figure, Line, Results
from model.study.variants import IDEAS, by_name

BEGIN, END = "<!-- results: begin, written by trunkline study -->", "<!-- results: end -->"
_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


def write_page(results: Results, page: Path, command: str) -> None:
    """Put tables, verdicts and plots between the page's marks, or at its end without marks; plots lie in images."""
    setups = results.setups()
    images = page.parent / "images"
    curves(results, setups, images / "study-curves.svg")
    for metric in METRICS:
        effects(results, metric, setups, images / f"study-{metric}.svg")
    body = "\n".join([BEGIN, "", *_body(results, setups, command), END])
    try:
        text = page.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = "# The study\n"
    before, found, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if found else "\n"
    write_atomically(page, ((before if found else before + "\n") + body + after).encode())


def _body(results: Results, setups: Sequence[str], command: str) -> Iterator[str]:
    plan = results.plan
    yield f"By `{command}`; {'; '.join(sorted(results.machines)) or 'nothing finished'}."
    yield ""
    yield from _extent(results)
    yield "## What helps, and what does not"
    yield ""
    yield from _verdicts(results)
    yield "![What each idea adds to accuracy](images/study-accuracy.svg)"
    yield ""
    yield "![What each idea adds to macro-F1](images/study-macro_f1.svg)"
    yield ""
    yield "## Every variant"
    yield ""
    yield "![Accuracy against the share of the training data](images/study-curves.svg)"
    yield ""
    for share in plan.shares:
        yield from _overview(results, share, setups)
    yield "## Task by task"
    yield ""
    for share in plan.shares:
        for setup in setups:
            yield from _tasks(results, share, setup)


def _extent(results: Results) -> Iterator[str]:
    """What was and what was not measured."""
    plan = results.plan
    yield "| training data | seeds | epochs |"
    yield "|---|---:|---:|"
    for share in plan.shares:
        yield f"| {share.title} | {share.seeds} | {share.epochs} |"
    yield ""
    few = [share.title for share in plan.shares if share.seeds < 3]
    if few:
        yield f"**Fewer than 3 seeds** at {', '.join(few)}: too little time; read those figures as single draws."
        yield ""
    epochs = {share.epochs for share in plan.shares}
    if len(epochs) > 1:
        yield "**Epochs differ** between shares, so that larger ones took bearable time; compare within a share."
        yield ""
    if results.missing:
        yield f"**Unfinished**: {results.missing} cells of variant, share and seed are not there yet."
        yield ""
    for name, reason in plan.left_out.items():
        yield f"Left out: {by_name(name).title} ({reason})."
        yield ""


def _verdicts(results: Results) -> Iterator[str]:
    for idea in IDEAS:
        found = {pair: results.differences(idea, pair) for pair in idea.pairs}
        if not any(found.values()):
            continue
        yield f"### {idea.title}"
        yield ""
        for pair, differences in found.items():
            if differences:
                yield f"- {_verdict(pair, differences)}"
        yield ""


def _verdict(pair: tuple[str, str], differences: Sequence[Difference]) -> str:
    """One sentence or more on a pair of variants, from its differences alone."""
    one, two = by_name(pair[0]).title, by_name(pair[1]).title
    counts = Counter(difference.verdict for difference in differences)
    judged = len(differences) - counts["one seed"]
    if not judged:
        word = "one seed: nothing can be said of the spread"
    elif counts["better"] and counts["worse"]:
        word = "**helps in some ways to ask and harms in others**"
    elif counts["better"]:
        word = "**helps**" if counts["better"] * 2 > judged else "**helps in places**"
    elif counts["worse"]:
        word = "**does not help; it harms**"
    else:
        word = "**does not help**, as far as this many seeds can tell"
    parts = [f"{one} against {two}: {word}."]
    for verdict, said in (("better", "Better"), ("worse", "Worse")):
        cells = [_cell(d) for d in differences if d.verdict == verdict]
        if cells:
            parts.append(f"{said}: {'; '.join(cells)}.")
    if counts["open"]:
        widest = max(abs(d.mean) for d in differences if d.verdict == "open") * 100
        parts.append(f"Within the spread: {counts['open']} of {judged} comparisons (means up to {widest:.1f} points).")
    alone = [_cell(d) for d in differences if d.verdict == "one seed"]
    if alone:
        parts.append(f"From one seed: {'; '.join(alone)}.")
    return " ".join(parts)


def _cell(difference: Difference) -> str:
    half = "" if difference.half is None else f" ± {difference.half * 100:.1f}"
    return (
        f"{difference.setup}, {difference.share.title}, {_NAMES[difference.metric]} {difference.mean * 100:+.1f}{half}"
    )


def _overview(results: Results, share: Share, setups: Sequence[str]) -> Iterator[str]:
    lines = _lines(results, share)
    if not lines:
        return
    yield f"### {share.title} of the training data: means over tasks"
    yield ""
    yield "Accuracy / macro-F1, ± the standard deviation over seeds; parameters; minutes of training."
    yield ""
    yield "| | " + " | ".join(setups) + " | parameters | minutes |"
    yield "|---|" + "---:|" * (len(setups) + 2)
    for title, line in lines:
        cells = [
            " / ".join(_shown(line.figure(setup, metric)) for metric in METRICS)
            if line.figure(setup, "accuracy")
            else "–"
            for setup in setups
        ]
        minutes = float(np.mean(line.seconds)) / 60
        yield f"| {title} | " + " | ".join(cells) + f" | {_millions(line.parameters)} | {minutes:.1f} |"
    yield ""
    for variant in results.plan.variants:
        for seed, reason in results.failures(variant.name, share).items():
            yield f"Failed: {variant.title}, seed {seed} ({reason})."
            yield ""


def _tasks(results: Results, share: Share, setup: str) -> Iterator[str]:
    lines = [(title, line) for title, line in _lines(results, share) if line.figure(setup, "accuracy")]
    if not lines:
        return
    tasks = list(results.plan.config.tasks)
    yield f"<details><summary>{share.title}, {setup}</summary>"
    yield ""
    for metric in METRICS:
        asked = [task for task in tasks if any(line.figure(setup, metric, task) for _, line in lines)]
        yield f"{_NAMES[metric]} | " + " | ".join(asked)
        yield "---|" + "---:|" * len(asked)
        for title, line in lines:
            yield f"{title} | " + " | ".join(_shown(line.figure(setup, metric, task)) for task in asked)
        yield ""
    yield "</details>"
    yield ""


def _lines(results: Results, share: Share) -> list[tuple[str, Line]]:
    """The finished lines of a share; variants that are the same config make one line with all their titles."""
    titles: dict[tuple[str, ...], list[str]] = {}
    lines: dict[tuple[str, ...], Line] = {}
    for variant in results.plan.variants:
        line = results.line(variant.name, share)
        if line is not None:
            key = (str(variant.beta), *(run.key for run in results.plan.runs(variant, share, 0)))
            titles.setdefault(key, []).append(variant.title)
            lines[key] = line
    return [(", ".join(names), lines[key]) for key, names in titles.items()]


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    spread = "" if figure.deviation is None else f" ±{figure.deviation:.3f}".replace("0.", ".")
    return f"{figure.mean:.3f}".replace("0.", ".", 1) + spread


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count else "–"
