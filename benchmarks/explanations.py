"""Deletion tests of full explanations: `python -m benchmarks.explanations --bundle weights/NAME --data PATH`.

Rows of the test split are asked for in the ways that a user may: photo and title, photo, title. Of each explanation,
the fifth of the cells or the quarter of the words (one at least) with the most weight is taken away, task by task, and
as much at random. What the explained probability loses is averaged over rows and tasks. Cells are hidden by the
picture's mean colour, as explanations do it, and by the modality's background, which they know nothing of.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.intake.limits import Limits
from app.intake.pool import IntakePool
from app.intake.prepare import prepare
from app.serving.backend import LocalBackend
from app.serving.pipeline import Pipeline
from app.serving.runtimes.choice import choose_runtime
from app.serving.types import Options, ServingConfig
from app.telemetry.metrics import Metrics
from benchmarks.machine import describe
from model.bundle import load_bundle
from model.config import ImageModality
from model.data.dataset import load_dataset
from model.erasure import grid_of, hidden, mean_colour, without, words_of

_CELLS, _WORDS = 0.2, 0.25  # the shares that are taken away
_DRAWS = 3  # at random, for each row
_KINDS = ("multiclass", "ordinal", "binary")


class Deletion:
    """One service and the figures found so far: (asked with, taken away, chosen how) -> what was lost."""

    def __init__(self, pipeline: Pipeline, seed: int) -> None:
        self._pipeline = pipeline
        self._config = pipeline.registry.default().bundle.config
        self._random = np.random.default_rng(seed)
        self.tasks = tuple(name for name, task in self._config.tasks.items() if task.kind in _KINDS)
        self.lost: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self.seconds: dict[str, list[float]] = defaultdict(list)

    async def ask(self, parts: dict[str, bytes | str], explain: Any = False) -> dict[str, dict[str, Any]]:
        """The predictions of every task that has a confidence."""
        options = Options(self.tasks, top_k=100, explain=explain)
        return (await self._pipeline.predict(parts, options)).predictions

    async def row(self, parts: dict[str, bytes | str], pictures: dict[str, np.ndarray]) -> None:
        """Explain one row in one way of asking, and take parts away."""
        asked = " + ".join(parts)
        began = time.monotonic()
        whole = await self.ask(parts, "full")
        self.seconds[asked].append(time.monotonic() - began)
        for name in parts:
            modality = self._config.modalities[name]
            weights = {task: _flat(answer["explanation"]["parts"][name]) for task, answer in whole.items()}
            total = len(next(iter(weights.values())))
            picture = isinstance(modality, ImageModality)
            share = max(1, round((_CELLS if picture else _WORDS) * total))
            marked = {task: np.argsort(-found, kind="stable")[:share] for task, found in weights.items()}
            drawn = [self._random.choice(total, share, replace=False) for _ in range(_DRAWS)]
            for how, colour in self._ways(name, pictures):
                for task, chosen in marked.items():
                    await self._lose(parts, name, chosen, colour, pictures, whole, (task,), (asked, how, "marked"))
                for chosen in drawn:
                    await self._lose(parts, name, chosen, colour, pictures, whole, self.tasks, (asked, how, "random"))

    def _ways(self, name: str, pictures: dict[str, np.ndarray]) -> list[tuple[str, Sequence[int]]]:
        modality = self._config.modalities[name]
        if not isinstance(modality, ImageModality):
            return [(f"words of {name}", ())]
        return [
            (f"cells of {name}: mean colour", mean_colour(pictures[name])),
            (f"cells of {name}: background", modality.background),
        ]

    async def _lose(
        self,
        parts: dict[str, bytes | str],
        name: str,
        chosen: np.ndarray,
        colour: Sequence[int],
        pictures: dict[str, np.ndarray],
        whole: dict[str, dict[str, Any]],
        tasks: Sequence[str],
        figure: tuple[str, str, str],
    ) -> None:
        modality, part = self._config.modalities[name], parts[name]
        less = dict(parts)
        if isinstance(modality, ImageModality):
            less[name] = png(hidden(pictures[name], grid_of(modality), chosen.tolist(), colour))
        else:
            assert isinstance(part, str)
            words = words_of(part)
            less[name] = without(part, [words[number] for number in chosen])
            if len(chosen) == len(words):
                return  # nothing would be left to choose between
        answers = await self.ask(less)
        for task in tasks:
            self.lost[figure].append(whole[task]["confidence"] - _confidence(answers[task], whole[task]))


def _flat(parts: list[Any]) -> np.ndarray:
    return np.array([part["weight"] for part in parts] if isinstance(parts[0], dict) else parts).ravel()


def _confidence(answer: dict[str, Any], of: dict[str, Any]) -> float:
    """The confidence in the label of another answer; 0 where it is not among the likeliest."""
    if answer["kind"] == "multiclass":
        return {entry["label"]: entry["confidence"] for entry in answer["top"]}.get(of["label"], 0.0)
    said = "label" if "label" in answer else "value"
    if answer[said] == of[said]:
        return float(answer["confidence"])
    return 1 - float(answer["confidence"]) if answer["kind"] == "binary" else 0.0


def png(picture: np.ndarray) -> bytes:
    """The pixels as a file that loses nothing."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


async def measure(bundle: Path, data: Path, rows: int, seed: int, threads: int | None = None) -> Deletion:
    """Ask a service in this process, one request after another. `threads`: of a forward, one a core when None."""
    config = load_bundle(bundle).config
    split = load_dataset(config, data, labels_from=config, splits=("test",)).splits["test"]
    complete = np.flatnonzero(split.present.all(axis=1))
    chosen = np.random.default_rng(seed).choice(complete, min(rows, len(complete)), replace=False)
    make = partial(LocalBackend, make_runtime=partial(choose_runtime, device="cpu", threads=threads))
    pool = IntakePool()
    settings = ServingConfig(bundles=(bundle,), cache_bytes=0, default_deadline=600)
    pipeline = Pipeline(settings, pool, partial(prepare, limits=Limits()), Metrics(), make)
    await pipeline.start()
    deletion = Deletion(pipeline, seed)
    for row in chosen:
        pictures = {name: np.asarray(images[row]) for name, images in split.images.items()}
        whole: dict[str, bytes | str] = {}
        for name in config.modalities:
            whole[name] = png(pictures[name]) if name in pictures else split.texts[name][row]
        ways = [whole] if len(whole) == 1 else [whole, *({name: part} for name, part in whole.items())]
        for parts in ways:
            await deletion.row(parts, pictures)
    await pipeline.drain(10)
    pool.close()
    return deletion


def render(found: Deletion) -> str:
    """The table, as docs/explanations.md has it."""
    lines = ["| asked with | taken away | marked | at random | explained in |", "|---|---|---:|---:|---:|"]
    for asked, how, chosen in found.lost:
        if chosen == "marked":
            marked, drawn = (float(np.mean(found.lost[asked, how, way])) for way in ("marked", "random"))
            middle = 1000 * float(np.median(found.seconds[asked]))
            lines.append(f"| {asked} | {how} | {marked:.3f} | {drawn:.3f} | {middle:.0f} ms |")
    return "\n".join(lines)


def main() -> None:
    """Print the table and what it was measured on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="with priors, and a photo or a text to take apart")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200, help="of the test split")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = asyncio.run(measure(given.bundle, given.data, given.rows, given.seed))
    print(render(found))
    machine = describe(Path(), ())
    print(f"\n{given.rows} rows; {machine['processor']}; {machine['kernel']}")


if __name__ == "__main__":
    main()
