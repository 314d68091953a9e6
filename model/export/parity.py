"""The check that an exported file answers as the bundle does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from model.bundle import Bundle
from model.calibration import pattern_key, patterns_of
from model.config import ImageModality, Modality
from model.export.errors import ExportError
from model.export.names import graph_names, output_names
from model.golden import prepare
from model.outputs import Outputs
from model.predictor import Predictor
from model.preprocess import Item, Narrowed, collate, pad_tokens, some_token

TOLERANCE = 1e-4
BATCH_SIZES = (1, 2, 3, 32)


@dataclass(frozen=True)
class Parity:
    """How far the two are apart: the largest difference of any number, over so many batches and samples."""

    difference: float
    batches: int
    samples: int


@dataclass(frozen=True)
class Case:
    """One batch: for torch the items, without what is missing; for the file whole arrays, with garbage there."""

    name: str
    items: list[Item]
    feed: dict[str, NDArray[Any]]
    narrowed: Narrowed | None = None


def check_parity(file: Path, bundle: Bundle, predictor: Predictor, tolerance: float = TOLERANCE) -> Parity:
    """Run the file beside torch at every batch size and every pattern, and at batches that mix patterns.

    Probabilities and α may differ by `tolerance`, a regression's values by `tolerance` standard deviations, distances
    by that share of themselves. Raises ExportError naming the first batch and output that differ by more.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors are raised; warnings are of no use to whoever exports
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises classes of its own that share no base
        raise ExportError(f"onnxruntime cannot load the exported file: {error}") from error
    names, outputs = graph_names(bundle.config), output_names(bundle)
    gathering = names.rows in {end.name for end in session.get_inputs()}
    largest, batches, samples = 0.0, 0, 0
    for case in draw_cases(bundle, gathering=gathering):
        try:
            found = dict(zip(outputs, session.run(outputs, case.feed), strict=True))
        except Exception as error:
            raise ExportError(f"onnxruntime cannot run the exported file on {case.name}: {error}") from error
        for output, difference in _differences(bundle, predictor(case.items, narrowed=case.narrowed), found).items():
            # Written so that a NaN fails.
            if not difference <= tolerance:
                raise ExportError(
                    f"the exported file answers differently from torch: {output!r} differs by {difference:.2g} "
                    f"on {case.name}; {tolerance:g} is allowed"
                )
            largest = max(largest, difference)
        batches += 1
        samples += len(case.feed[names.present])
    return Parity(largest, batches, samples)


def _differences(bundle: Bundle, expected: Outputs, found: dict[str, NDArray[np.float32]]) -> dict[str, float]:
    names = graph_names(bundle.config)
    result = {}
    for name, task in bundle.config.tasks.items():
        scale = (task.scale or (0.0, 1.0))[1]
        result[name] = _largest(expected.probabilities[name], found[names.outputs[name]]) / scale
    result[names.alpha] = _largest(expected.alpha, found[names.alpha])
    if expected.distance is not None:
        # Distances have no unit: those of ordinary inputs spread over their curve, those of strange ones are large.
        spread = max(curve.distances[-1] - curve.distances[0] for curve in bundle.calibration.familiarity.values())
        unit = np.maximum(np.abs(expected.distance), max(spread, 1.0)).astype(np.float32)
        result[names.distance] = _largest(expected.distance / unit, found[names.distance] / unit)
    return result


def _largest(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    if expected.shape != found.shape:
        return float("inf")
    return float(np.abs(expected - found).max())


def draw_cases(bundle: Bundle, seed: int = 0, *, gathering: bool = False) -> Iterator[Case]:
    """The golden inputs, then drawn ones at each batch size in each pattern, then with the patterns mixed.

    `gathering`: for a graph with the input `rows`; then batches with further answers to some of their items, too.
    """
    for case in _plain_cases(bundle, seed):
        yield _gathering(case, bundle, None) if gathering else case
    if gathering:
        generator = np.random.default_rng(seed)
        patterns = patterns_of(bundle.config)
        for size in BATCH_SIZES:
            chosen = [patterns[number % 2 % len(patterns)] for number in range(size)]
            items = [_draw_item(bundle, pattern, generator) for pattern in chosen]
            case = _case(f"a batch of {size} with further answers", items, bundle, generator)
            yield _gathering(case, bundle, _some_parts(items, bundle))


def _plain_cases(bundle: Bundle, seed: int) -> Iterator[Case]:
    config = bundle.config
    names = list(config.modalities)
    generator = np.random.default_rng(seed)
    golden: list[Item] = [prepare(case.raw(), config, bundle.tokenizers) for case in bundle.golden]
    yield _case("the golden inputs", golden, bundle, generator)
    patterns = patterns_of(config)
    for size in BATCH_SIZES:
        for pattern in patterns:
            items = [_draw_item(bundle, pattern, generator) for _ in range(size)]
            yield _case(f"a batch of {size} with {pattern_key(pattern)}", items, bundle, generator)
        if size > 1 and len(names) > 1:
            chosen = [patterns[(first + size) % len(patterns)] for first in range(size)]
            items = [_draw_item(bundle, pattern, generator) for pattern in chosen]
            yield _case(f"a batch of {size} with mixed modalities", items, bundle, generator)


def _draw_item(bundle: Bundle, pattern: tuple[str, ...], generator: np.random.Generator) -> Item:
    sizes = bundle.vocab_sizes()
    return {name: _draw(bundle.config.modalities[name], sizes.get(name, 0), generator) for name in pattern}


def _draw(modality: Modality, vocab_size: int, generator: np.random.Generator) -> NDArray[Any]:
    """A picture of noise with a level and a contrast of its own, or a text that is often as short or long as may be."""
    if isinstance(modality, ImageModality):
        noise = generator.normal(size=(modality.height, modality.width, 3))
        return np.clip(generator.uniform(0, 255) + generator.uniform(0, 90) * noise, 0, 255).astype(np.uint8)
    lengths = (1, modality.max_tokens, int(generator.integers(1, modality.max_tokens + 1)))
    ids: NDArray[np.int64] = generator.integers(1, vocab_size, size=lengths[generator.integers(3)])
    return np.where(ids == modality.pad_id, some_token(modality), ids)


def _case(name: str, items: list[Item], bundle: Bundle, generator: np.random.Generator) -> Case:
    """Feed the file whole arrays: noise, and numbers that are no token, where an item lacks a modality."""
    names = graph_names(bundle.config)
    feed: dict[str, NDArray[Any]] = {names.present: collate(items, bundle.config).present}
    for modality_name, modality in bundle.config.modalities.items():
        rows = []
        for item in items:
            if modality_name in item:
                rows.append(item[modality_name])
            elif isinstance(modality, ImageModality):
                rows.append(_draw(modality, 0, generator))
            else:
                rows.append(generator.integers(-(2**40), 2**40, size=generator.integers(1, modality.max_tokens + 1)))
        feed[names.inputs[modality_name]] = (
            np.stack(rows) if isinstance(modality, ImageModality) else pad_tokens(rows, pad_id=modality.pad_id)
        )
    return Case(name, items, feed)


def _gathering(case: Case, bundle: Bundle, narrowed: Narrowed | None) -> Case:
    """The same batch for a graph with the input `rows`."""
    names = graph_names(bundle.config)
    rows, present = np.arange(len(case.items)), case.feed[names.present]
    if narrowed is not None:
        rows, present = narrowed.behind(present)
    return replace(case, feed={**case.feed, names.present: present, names.rows: rows}, narrowed=narrowed)


def _some_parts(items: list[Item], bundle: Bundle) -> Narrowed:
    """Every second item with each of its modalities alone, the last item first."""
    names = list(bundle.config.modalities)
    found = [
        (row, [name == only for name in names])
        for row in range(len(items) - 1, -1, -2)
        for only in names
        if only in items[row]
    ]
    return Narrowed(np.array([row for row, _ in found]), np.array([has for _, has in found]))
