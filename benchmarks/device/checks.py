"""Whether the device gives the answers that the CPU gives: every shape of batch, every pattern of modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from app.serving.runtime import run
from app.serving.runtimes.cuda import CudaRuntime
from app.serving.runtimes.device import Device
from app.serving.runtimes.shapes import Shape, Shapes
from model.bundle import Bundle
from model.calibration import patterns_of
from model.config import Config, TextModality
from model.golden import check_golden
from model.outputs import Outputs
from model.predictor import Predictor
from model.preprocess import Item

MakeDevice = Callable[[], Device]

FP32_TOLERANCE = 1e-4
BF16_AGREEMENT = 0.995
# Of a network that was not trained: its labels are near-ties and its probabilities small, so what is checked is how far
# all of them are off, in proportion.
RELATIVE_ERRORS = {"fp32": 1e-3, "bf16": 0.05}


def draw_item(config: Config, vocab: dict[str, int], pattern: Iterable[str], length: int, seed: int) -> Item:
    """Random pixels and tokens of a pattern of modalities; texts have `length` tokens, or as many as they may."""
    generator = np.random.default_rng(seed)
    item: dict[str, np.ndarray] = {}
    for name in pattern:
        modality = config.modalities[name]
        if isinstance(modality, TextModality):
            item[name] = generator.integers(1, vocab[name], min(length, modality.max_tokens))
        else:
            item[name] = generator.integers(0, 256, (modality.height, modality.width, 3), dtype=np.uint8)
    return item


class Reference:
    """Items whose answers the CPU has given in fp32, and batches of every shape made of them."""

    def __init__(self, bundle: Bundle, sizes: Sequence[int], copies: int, cpu: Predictor) -> None:
        """`copies`: different items for each pattern and padded length."""
        self.config = bundle.config
        self.shapes = Shapes(bundle.config, sizes)
        vocab = bundle.vocab_sizes()
        self._rows: dict[tuple[tuple[str, ...], int], list[int]] = {}
        self.items: list[Item] = []
        for shape in self.shapes.graphs():
            if (shape.pattern, shape.length) not in self._rows:
                # As long as the shape takes, and one shorter, which has the same shape: one token is padding then.
                lengths = [max(1, shape.length - number % 2) for number in range(copies)]
                self._rows[shape.pattern, shape.length] = [len(self.items) + number for number in range(copies)]
                self.items += [
                    draw_item(bundle.config, vocab, shape.pattern, length, seed=len(self.items) + number)
                    for number, length in enumerate(lengths)
                ]
        parts = [cpu(self.items[start : start + 32]) for start in range(0, len(self.items), 32)]
        self.answers = {
            task: np.concatenate([part.probabilities[task] for part in parts]) for task in bundle.config.tasks
        }

    def batch(self, shape: Shape) -> list[int]:
        """Items that run in this shape: the first has its length and pattern, the others all that fit in beside it."""
        own = self._rows[shape.pattern, shape.length]
        beside = [
            row
            for (pattern, length), rows in self._rows.items()
            if set(pattern) <= set(shape.pattern) and length <= shape.length
            for row in rows
        ]
        order = np.random.default_rng(shape.rows).permutation(beside).tolist()
        return [own[0], *(own[1:] + order)[: shape.rows - 1]] + order[: max(0, shape.rows - len(own) - len(order))]


def largest_difference(config: Config, found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Largest difference of any answer, regression in units of its standard deviation; NaN counts as infinite."""
    worst = 0.0
    for name, task in config.tasks.items():
        difference = np.abs(found[name] - expected[name]).max() / (task.scale or (0.0, 1.0))[1]
        worst = max(worst, float("inf") if np.isnan(difference) else float(difference))
    return worst


def agreement(config: Config, found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Share of class answers that are the same."""
    same = []
    for name, task in config.tasks.items():
        a, b = found[name], expected[name]
        if task.kind in ("multiclass", "ordinal"):
            same.append(a.argmax(1) == b.argmax(1))
        elif task.kind in ("multilabel", "binary"):
            same.append(((a >= 0.5) == (b >= 0.5)).all(1))
    return float(np.concatenate(same).mean()) if same else 1.0


def relative_error(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """‖found − expected‖ / ‖expected‖ of the task where it is largest."""
    return max(
        float(np.linalg.norm(found[name] - values) / np.linalg.norm(values)) for name, values in expected.items()
    )


def over_shapes(runtime: CudaRuntime, reference: Reference) -> tuple[int, float]:
    """Run every shape once; how many, and the largest difference from the CPU's answers."""
    worst = 0.0
    shapes = reference.shapes.graphs()
    for shape in shapes:
        rows = reference.batch(shape)
        items = [reference.items[row] for row in rows]
        if reference.shapes.of(items) != shape:
            raise AssertionError(f"a batch made for {shape} has {reference.shapes.of(items)}")
        expected = {task: values[rows] for task, values in reference.answers.items()}
        worst = max(worst, largest_difference(reference.config, run(runtime, items).probabilities, expected))
    return len(shapes), worst


def together(outputs: Sequence[Outputs]) -> dict[str, np.ndarray]:
    """The answers of several batches, one behind another."""
    return {task: np.concatenate([one.probabilities[task] for one in outputs]) for task in outputs[0].probabilities}


def check(
    bundle: Bundle, make_device: MakeDevice, sizes: Sequence[int], inputs: Sequence[Item], *, trained: bool, copies: int
) -> tuple[dict[str, Any], dict[str, bool]]:
    """Figures and verdicts. `inputs`: what the benchmark's uploads become, on which bf16 is judged."""
    cpu = Predictor(bundle)
    reference = Reference(bundle, sizes, copies, cpu)
    figures: dict[str, Any] = {"patterns": len(patterns_of(bundle.config)), "items": len(reference.items)}
    verdicts = {}
    half = [inputs[start : start + max(sizes)] for start in range(0, len(inputs), max(sizes))]
    expected = together([cpu(part) for part in half])
    for precision in ("fp32", "bf16"):
        runtime = CudaRuntime(bundle, sizes, precision=precision, device=make_device())
        check_golden(bundle, lambda items, runtime=runtime: run(runtime, items), precision)  # type: ignore[misc]
        count, worst = over_shapes(runtime, reference)
        found = together([run(runtime, part) for part in half])
        figures[precision] = {
            "shapes": count,
            "largest_difference": worst,
            "same_labels": agreement(bundle.config, found, expected),
            "relative_error": relative_error(found, expected),
        }
    verdicts["golden cases, fp32 and bf16"] = True  # check_golden raises otherwise
    verdicts[f"fp32 within {FP32_TOLERANCE} of the CPU in every shape"] = (
        figures["fp32"]["largest_difference"] <= FP32_TOLERANCE
    )
    if trained:
        verdicts[f"bf16 gives the same labels for {BF16_AGREEMENT:.1%}"] = (
            figures["bf16"]["same_labels"] >= BF16_AGREEMENT
        )
    else:
        for precision, allowed in RELATIVE_ERRORS.items():
            error = figures[precision]["relative_error"]
            verdicts[f"{precision} within {allowed:.1%} of the CPU's fp32"] = error <= allowed
    return figures, verdicts
