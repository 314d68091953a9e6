"""What the runtimes that read a bundle's graph share: its ends, and batches in a few shapes that are known ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.serving.runtime import Later
from model.bundle import Bundle
from model.config import Config, ImageModality
from model.export.names import graph_names, output_names
from model.outputs import Outputs
from model.preprocess import Item, Narrowed

Feed = dict[str, NDArray[Any]]

_SHORTEST = 16


def padded_lengths(longest: int) -> tuple[int, ...]:
    """Token counts that batches are padded to: 16, 32, 48, 64, 96, 128, 192 and so on, the last one `longest`.

    Libraries that compile for a shape do it at its first batch, while requests wait. Few shapes can all be met before
    the first request; more padding than this would cost more than it saves.
    """
    lengths, step = [], _SHORTEST
    length = _SHORTEST
    while length < longest:
        lengths.append(length)
        # From 32 on, a step is at most half of the length.
        if length >= 4 * step:
            step *= 2
        length += step
    return (*lengths, longest)


def padded_answers(further: int, items: int) -> int:
    """How many further answers are asked of a graph where `further` are needed: a power of two for each item.

    Those that nobody asked for cost little, since encoders run once.
    """
    return items << (-(-further // items) - 1).bit_length() if further else 0


def longest_text(config: Config) -> int:
    """`max_tokens` of the text that may be longest; 0 without texts."""
    return max((m.max_tokens for m in config.modalities.values() if not isinstance(m, ImageModality)), default=0)


class GraphEnds:
    """From items to what a graph is fed, and from what it gives to outputs."""

    def __init__(self, bundle: Bundle, inputs: Iterable[str] = ()) -> None:
        """Take names and shapes from the bundle's config. `inputs`: what the graph itself calls its inputs."""
        self._config = bundle.config
        self._names = graph_names(bundle.config)
        # Graphs that were written before had one answer for each row, and nothing to say which row it is to.
        self._gathers = self._names.rows in inputs
        longest = longest_text(bundle.config)
        self.lengths = padded_lengths(longest) if longest else ()
        self._tasks = list(bundle.config.tasks)
        self.outputs = output_names(bundle)

    def feed(self, items: Sequence[Item], narrowed: Narrowed | None = None) -> Feed:
        """One array an input of the graph; rows that lack a modality hold zeros.

        Texts are padded to the next of `lengths`, and further answers to a batch's size, twice that, and so on: each
        shape keeps megabytes in the libraries for good. Where the graph does not gather, each of the further answers
        is to a row of its own. Raises ValueError for an item without any modality.
        """
        if not all(items):
            raise ValueError("an item has no modality at all; there is nothing to predict from")
        present = np.array([[name in item for name in self._config.modalities] for item in items], dtype=np.bool_)
        feed: Feed = {}
        longest = max((values.shape[0] for item in items for values in item.values() if values.ndim == 1), default=1)
        length = next((length for length in self.lengths if length >= longest), longest)
        for name, modality in self._config.modalities.items():
            values: NDArray[Any]
            if isinstance(modality, ImageModality):
                values = np.zeros((len(items), modality.height, modality.width, 3), dtype=np.uint8)
                for row, item in enumerate(items):
                    if name in item:
                        values[row] = item[name]
            else:
                values = np.full((len(items), min(length, modality.max_tokens)), modality.pad_id, dtype=np.int64)
                for row, item in enumerate(items):
                    if name in item:
                        values[row, : len(item[name])] = item[name]
            feed[self._names.inputs[name]] = values
        if narrowed is not None:
            rows, present = narrowed.behind(present)
            if self._gathers:
                more = padded_answers(len(narrowed.rows), len(items)) - len(narrowed.rows)
                rows, present = np.pad(rows, (0, more), "edge"), np.pad(present, ((0, more), (0, 0)), "edge")
            else:
                feed = {name: values[rows] for name, values in feed.items()}
        elif self._gathers:
            rows = np.arange(len(items))
        feed[self._names.present] = present
        if self._gathers:
            feed[self._names.rows] = rows
        return feed

    def later(
        self,
        forward: Callable[[Feed], Sequence[NDArray[np.float32]]],
        items: Sequence[Item],
        tasks: Sequence[str] | None,
        narrowed: Narrowed | None,
    ) -> Later:
        """Feed the items; `forward` then gives what the graph says, in the order of `outputs`."""
        feed = self.feed(items, narrowed)
        count = len(items) if narrowed is None else len(items) + len(narrowed.rows)
        return Later(lambda: self._read(forward(feed), count, tasks))

    def _read(self, said: Sequence[NDArray[np.float32]], count: int, tasks: Sequence[str] | None) -> Outputs:
        answers, distances = said[: len(self._tasks) + 1], said[len(self._tasks) + 1 :]
        *probabilities, alpha = (values[:count] for values in answers)
        named: Mapping[str, NDArray[np.float32]] = dict(zip(self._tasks, probabilities, strict=True))
        chosen = {name: named[name] for name in (self._tasks if tasks is None else tasks)}
        return Outputs(chosen, alpha, distance=distances[0] if distances else None)
