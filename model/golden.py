"""Golden cases: inputs and the answers that the trained network gave, checked before a bundle is served.

The inputs are drawn by a seeded generator, so that no training data leaves the house in them.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from model.bundle import GOLDEN, Bundle, BundleError
from model.calibration import patterns_of
from model.config import Config, ImageModality, Task
from model.golden_case import GoldenCase
from model.outputs import Outputs
from model.preprocess import Item, TextTokenizer, normalise_text, pixels

# How far an answer may be from the recorded one, by the precision of the arithmetic. In fp32, other processors and
# libraries add in another order. bf16 keeps 8 bits of a number, so that logits move by some hundredths:
# benchmarks/precision.py prints how far that moves answers to real inputs.
TOLERANCES = {"fp32": 1e-4, "bf16": 0.05}
_DIGITS = 6


def prepare(raw: dict[str, bytes | str], config: Config, tokenizers: dict[str, TextTokenizer]) -> dict[str, np.ndarray]:
    """Prepare raw inputs by the plain way, without limits or fast paths."""
    item: dict[str, np.ndarray] = {}
    for name, value in raw.items():
        modality = config.modalities[name]
        if isinstance(modality, ImageModality):
            if isinstance(value, str):
                raise TypeError(f"{name} is an image, not a text")
            with Image.open(io.BytesIO(value)) as image:
                item[name] = pixels(image, modality)
        else:
            if isinstance(value, bytes):
                raise TypeError(f"{name} is a text, not an image")
            item[name] = tokenizers[name](normalise_text(value)).ids
    return item


def digest(array: np.ndarray) -> str:
    """A short hash of a prepared array's shape, type and values."""
    header = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def draw_inputs(config: Config, words: list[str], seed: int = 0) -> list[dict[str, bytes | str]]:
    """Raw inputs for every availability pattern of up to three modalities at once, drawn from a seed."""
    generator = np.random.default_rng(seed)
    cases = []
    for pattern in patterns_of(config)[:7]:
        case: dict[str, bytes | str] = {}
        for name in pattern:
            modality = config.modalities[name]
            if isinstance(modality, ImageModality):
                case[name] = _draw_picture(generator, modality)
            else:
                case[name] = " ".join(generator.choice(words, size=6)) if words else "one two three"
        cases.append(case)
    return cases


def _draw_picture(generator: np.random.Generator, modality: ImageModality) -> bytes:
    """A soft pattern with an edge in it, twice the modality's size so that the resize is part of the check."""
    height, width = 2 * modality.height, 2 * modality.width
    y, x = np.mgrid[0:height, 0:width]
    canvas = np.full((height, width, 3), 255.0)
    for channel in range(3):
        a, b, c = generator.uniform(0.01, 0.09, 2).tolist() + [generator.uniform(0, 6)]
        canvas[..., channel] = 128 + 100 * np.sin(a * x + b * y + c)
    canvas[: height // 6] = 255
    canvas[:, : width // 6] = 255
    buffer = io.BytesIO()
    Image.fromarray(canvas.astype(np.uint8)).quantize(32).convert("RGB").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def make_golden(bundle: Bundle, predictor: Callable[[Sequence[Item]], Outputs], words: list[str]) -> list[GoldenCase]:
    """Draw inputs and record what the predictor answers to them."""
    cases = []
    for raw in draw_inputs(bundle.config, words):
        item = prepare(raw, bundle.config, bundle.tokenizers)
        outputs = predictor([item])
        cases.append(
            GoldenCase(
                images={k: base64.b64encode(v).decode() for k, v in raw.items() if isinstance(v, bytes)},
                texts={k: v for k, v in raw.items() if isinstance(v, str)},
                prepared={name: digest(array) for name, array in item.items()},
                answers={
                    task: [round(float(x), _DIGITS) for x in rows[0]] for task, rows in outputs.probabilities.items()
                },
            )
        )
    return cases


def check_golden(bundle: Bundle, answer: Callable[[Sequence[Item]], Outputs], precision: str = "fp32") -> None:
    """Run every golden case through whatever answers for the bundle, with arithmetic of `precision`.

    Raises BundleError naming the file and the first case and task that differ: by more than TOLERANCES allows, or by
    another label where that is not a near-tie.
    """
    file = bundle.path / GOLDEN
    if not bundle.golden:
        raise BundleError(f"{file}: holds no case; a bundle needs at least one")
    items = [_prepared(bundle, number, case) for number, case in enumerate(bundle.golden)]
    outputs = answer(items)
    tolerance = TOLERANCES[precision]
    for number, case in enumerate(bundle.golden):
        for name, expected in case.answers.items():
            found = outputs.probabilities[name][number]
            where = f"{file}: case {number}, task {name!r}"
            if found.shape != (len(expected),):
                raise BundleError(f"{where}: {len(expected)} figures, not {len(found)}")
            task, recorded = bundle.config.tasks[name], np.array(expected)
            difference = float(np.abs(found - recorded).max()) / (task.scale or (0.0, 1.0))[1]
            if not difference <= tolerance:
                raise BundleError(
                    f"{where}: the answer differs by {difference:.2g} from the recorded one (allowed in {precision}: "
                    f"{tolerance}); the weights or the device's arithmetic are not those of training"
                )
            if not _same_labels(task, recorded, found, tolerance):
                raise BundleError(f"{where}: another label than the recorded one, which was not close to it")


def _prepared(bundle: Bundle, number: int, case: GoldenCase) -> Item:
    where = f"{bundle.path / GOLDEN}: case {number}"
    try:
        item = prepare(case.raw(), bundle.config, bundle.tokenizers)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BundleError(f"{where}: its inputs cannot be read ({error!r})") from None
    if not item or set(case.answers) != set(bundle.config.tasks):
        raise BundleError(f"{where}: needs inputs, and an answer to every task")
    for name, array in item.items():
        if digest(array) != case.prepared.get(name):
            raise BundleError(
                f"{where}: the {name} is prepared differently here than in training; "
                "install the library versions of the lock file"
            )
    return item


def _same_labels(task: Task, recorded: np.ndarray, found: np.ndarray, tolerance: float) -> bool:
    """Whether both say the same, or could be pushed to by answers that are within the tolerance."""
    if task.kind == "regression":
        return True
    if task.kind in ("multilabel", "binary"):
        far = np.abs(recorded - 0.5) > tolerance
        return bool(((recorded >= 0.5) == (found >= 0.5))[far].all())
    return bool(recorded.max() - recorded[found.argmax()] <= 2 * tolerance)
