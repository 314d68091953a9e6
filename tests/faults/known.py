"""Inputs whose answers are known, so that an answer tells whose it is.

The answers are those of torch, one item at a time. What a request is shown of its answer has to differ from what any
other input would have been shown, by far more than runtimes and batches differ in their arithmetic.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.intake import Limits, prepare
from benchmarks.uploads import PICTURES, ROOT, title
from model.bundle import load_bundle
from model.predictor import Predictor

TOLERANCE = 5e-5  # between two runtimes, or two batches, in fp32; some 3e-6 are seen
APART = 100 * TOLERANCE  # what two inputs' answers differ by at least

BUNDLE = ROOT / "weights" / "fashion"
Parts = dict[str, bytes | str]


@dataclass(frozen=True)
class Wish:
    """What a request asks of its inputs."""

    tasks: tuple[str, ...] = ()  # none: all
    top_k: int = 3
    explain: bool = False


# Each of these tells all inputs of `make_inputs` apart, and one wish from another.
WISHES = (
    Wish(),
    Wish(top_k=9),
    Wish(tasks=("baseColour", "articleType", "audience")),
    Wish(tasks=("subCategory", "baseColour", "usage", "year"), explain=True),
)


class Known:
    """Inputs and their answers."""

    def __init__(self, bundle: Path, inputs: Sequence[Parts]) -> None:
        """Ask torch for the answer to each of the inputs."""
        loaded = load_bundle(bundle)
        predictor = Predictor(loaded)
        self.inputs = inputs
        self._tasks = loaded.config.tasks
        self._modalities = [[name for name in loaded.config.modalities if name in parts] for parts in inputs]
        self._columns: dict[str, dict[str, int]] = {}
        count = 0
        for name, task in self._tasks.items():
            self._columns[name] = {label: count + at for at, label in enumerate(task.labels)}
            count += len(task.labels)
        rows = []
        for parts in inputs:
            outputs = predictor([prepare(parts, loaded.config, loaded.tokenizers, Limits()).item])
            answers = loaded.hierarchies.consistent(outputs.probabilities)
            rows.append(np.concatenate([answers[name][0] for name in self._tasks]))
        self._expected = np.stack(rows)  # (inputs, labels of all tasks)
        assert self._expected.shape == (len(inputs), count), "a task without a figure for each of its labels"
        self._rows: list[list[float]] = self._expected.tolist()

    def wrong(self, index: int, wish: Wish, request_id: str, answer: Mapping[str, Any]) -> str | None:
        """What is wrong with an answer to one of the inputs; None of what is right."""
        if answer["request_id"] != request_id:
            return f"the answer to {request_id} says that it is the one to {answer['request_id']}"
        if answer["modalities"] != self._modalities[index]:
            return f"input {index}: answered from {answer['modalities']}"
        predictions = answer["predictions"]
        if list(predictions) != list(wish.tasks or self._tasks):
            return f"input {index}: tasks {list(predictions)}"
        row = self._rows[index]
        for task, prediction in predictions.items():
            columns = self._columns[task]
            figures = _figures(prediction)
            if len(figures) != self._count(task, wish) or ("explanation" in prediction) != wish.explain:
                return f"input {index}: {task} has another request's options: {prediction}"
            for label, confidence in figures:
                if abs(row[columns[label]] - confidence) > TOLERANCE:
                    return f"input {index}: {task} {label} is {confidence}, not {row[columns[label]]:.6f}"
        return None

    def apart(self, wish: Wish) -> float:
        """The least difference between what an input is shown and what another one's answer is."""
        least = np.inf
        for index, row in enumerate(self._expected):
            columns: list[int] = []
            for task in wish.tasks or self._tasks:
                own = np.array(list(self._columns[task].values()))
                columns += own[(-row[own]).argsort(kind="stable")[: self._count(task, wish)]].tolist()
            difference = np.abs(self._expected[:, columns] - row[columns]).max(axis=1)
            difference[index] = np.inf
            least = min(least, float(difference.min()))
        return least

    def _count(self, task: str, wish: Wish) -> int:
        """How many figures an answer shows."""
        kind, labels = self._tasks[task].kind, len(self._tasks[task].labels)
        return {"multiclass": min(wish.top_k, labels), "multilabel": labels, "ordinal": 1}[kind]


def _figures(prediction: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    """Labels and the confidence that is shown of each."""
    if prediction["kind"] == "multiclass":
        return [(entry["label"], entry["confidence"]) for entry in prediction["top"]]
    if prediction["kind"] == "multilabel":
        figures: Mapping[str, float] = prediction["confidences"]
        return figures.items()
    return [(str(prediction["value"]), prediction["confidence"])]


def make_inputs(photos: int, texts: int, seed: int = 0) -> list[Parts]:
    """Every photo with every text, then each photo and each text alone: a photo in a wrong pair is told, too.

    All photos have the same number of bytes and all texts the same number of characters, which tell nothing.
    """
    pictures = list(small_photos(photos))
    pictures = [_padded(picture, max(map(len, pictures)) + 4) for picture in pictures]
    generator = np.random.default_rng(seed)
    titles = [title(generator, path.stem.capitalize()) for path, _ in zip(_endless(), range(texts), strict=False)]
    titles = [text.ljust(max(map(len, titles))) for text in titles]
    both: list[Parts] = [{"image": picture, "text": text} for picture in pictures for text in titles]
    return [*both, *({"image": picture} for picture in pictures), *({"text": text} for text in titles)]


def small_photos(count: int, size: tuple[int, int] = (120, 160), kind: str = "JPEG") -> Iterable[bytes]:
    """Products of some 3 kB, each in up to six colourings."""
    orders = ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2))
    for number, path in zip(range(count), _endless(), strict=False):
        with Image.open(path) as picture:
            product = picture.convert("RGB")
        product.thumbnail(size)
        coloured = np.asarray(product)[:, :, orders[number // len(_PRODUCTS) % len(orders)]]
        buffer = io.BytesIO()
        Image.fromarray(coloured).save(buffer, kind)
        yield buffer.getvalue()


def _padded(jpeg: bytes, length: int) -> bytes:
    """The same picture in so many bytes, at least four more, by a comment."""
    comment = length - len(jpeg) - 2  # its own length and text
    return jpeg[:2] + b"\xff\xfe" + comment.to_bytes(2, "big") + bytes(comment - 2) + jpeg[2:]


_PRODUCTS = sorted(PICTURES.glob("*.jpg"))


def _endless() -> Iterable[Path]:
    while True:
        yield from _PRODUCTS
