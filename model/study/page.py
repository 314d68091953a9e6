"""The study's results as Markdown, between two marks in a page whose other words are written by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from model.bundle import write_atomically
from model.study.plan import Share
from model.study.plots import curves, effects
from model.study.statistics import METRICS, Difference, Figure, Line, Results, beyond_chance
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
        yield f"**Fewer than 3 seeds** at {', '.join(few)}: to save time; read those figures as single draws."
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
    words: dict[str, list[str]] = {}
    for idea in IDEAS:
        for pair in idea.pairs:
            if differences := results.differences(idea, pair):
                words.setdefault(verdict(differences), []).append(
                    f"{_titles(pair)} ({idea.title[0].lower()}{idea.title[1:]})"
                )
    for word, titles in sorted(words.items()):
        yield f"- **{word.capitalize()}**: {'; '.join(titles)}."
    yield ""
    for idea in IDEAS:
        found = {pair: differences for pair in idea.pairs if (differences := results.differences(idea, pair))}
        if not found:
            continue
        yield f"### {idea.title}"
        yield ""
        for pair, differences in found.items():
            yield f"- {_verdict(pair, differences)}"
        yield ""
        asked = list(dict.fromkeys("all of each" if idea.across else d.setup for ds in found.values() for d in ds))
        yield "| points | training data | | " + " | ".join(asked) + " |"
        yield "|---|---:|---|" + "---:|" * len(asked)
        for pair, differences in found.items():
            for share in results.plan.shares:
                for metric in METRICS:
                    cells = {
                        "all of each" if idea.across else d.setup: _cell(d)
                        for d in differences
                        if d.share == share and d.metric == metric
                    }
                    if cells:
                        row = [_titles(pair), share.title, _NAMES[metric], *(cells.get(setup, "–") for setup in asked)]
                        yield f"| {' | '.join(row)} |"
        yield ""


def verdict(differences: Sequence[Difference]) -> str:
    """What a pair of variants shows, from its differences alone."""
    counts = Counter(difference.verdict for difference in differences)
    judged = len(differences) - counts["one seed"]
    if not judged:
        return "one seed, which says nothing of the spread"
    better, worse = (beyond_chance(counts[way], judged) for way in ("better", "worse"))
    if better and worse:
        return "helps in places and harms in others"
    if better:
        return "helps" if counts["better"] * 2 > judged else "helps in places"
    return "does not help; it harms" if worse else "does not help, as far as this many seeds can tell"


def _verdict(pair: tuple[str, str], differences: Sequence[Difference]) -> str:
    counts = Counter(difference.verdict for difference in differences)
    judged = len(differences) - counts["one seed"]
    if not judged:
        return f"{_titles(pair)}: {verdict(differences)}."
    return (
        f"{_titles(pair)}: **{verdict(differences)}**. Better in {counts['better']}, worse in {counts['worse']}, "
        f"within the spread in {counts['open']} of {judged} comparisons."
    )


def _titles(pair: tuple[str, str]) -> str:
    return f"{by_name(pair[0]).title}, against {by_name(pair[1]).title}"


def _cell(difference: Difference) -> str:
    """A difference in points with its interval; bold where it is certain."""
    text = f"{round(difference.mean * 100, 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0: no negative zero
    text += "" if difference.half is None else f" ±{difference.half * 100:.1f}"
    return f"**{text}**" if difference.verdict in ("better", "worse") else text


def _overview(results: Results, share: Share, setups: Sequence[str]) -> Iterator[str]:
    lines = _lines(results, share)
    if not lines:
        return
    yield f"### {share.title} of the training data: means over tasks"
    yield ""
    yield "Accuracy / macro-F1, ± the standard deviation over seeds; parameters; minutes and core-minutes of training."
    yield ""
    yield "| | " + " | ".join(setups) + " | parameters | minutes | core-minutes |"
    yield "|---|" + "---:|" * (len(setups) + 3)
    for title, line in lines:
        cells = [
            " / ".join(_shown(line.figure(setup, metric)) for metric in METRICS)
            if line.figure(setup, "accuracy")
            else "–"
            for setup in setups
        ]
        cost = f"{_millions(line.parameters)} | {_minutes(line.seconds)} | {_minutes(line.core_seconds)}"
        yield f"| {title} | " + " | ".join(cells) + f" | {cost} |"
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
        yield f"| {_NAMES[metric]} | " + " | ".join(asked) + " |"
        yield "|---|" + "---:|" * len(asked)
        for title, line in lines:
            cells = [_shown(line.figure(setup, metric, task)) for task in asked]
            yield f"| {title} | " + " | ".join(cells) + " |"
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


def _minutes(seconds: Sequence[float]) -> str:
    return f"{float(np.mean(seconds)) / 60:.1f}" if seconds else "–"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count else "–"
