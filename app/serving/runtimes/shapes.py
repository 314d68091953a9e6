"""Shapes of batches where each has a captured graph: few enough to capture all, near enough to waste little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.serving.runtime import padded_length
from model.calibration import patterns_of
from model.config import Config, TextModality
from model.preprocess import Item, Narrowed

MOST_GRAPHS = 256
_MOST_LENGTHS = 16
_SHORTEST_STEP = 4  # tokens
_ALIGNMENT = 256  # bytes, as CUDA aligns its own allocations


@dataclass(frozen=True)
class Shape:
    """A batch's shape: how many rows, which modalities any of them has, and the length that texts are padded to.

    `length` is 0 where no row has a text. `further`: how many answers there are besides one a row.
    """

    rows: int
    pattern: tuple[str, ...]
    length: int
    further: int = 0

    @property
    def answers(self) -> int:
        """How many answers there are in all."""
        return self.rows + self.further


@dataclass(frozen=True)
class Region:
    """Where an array lies in a buffer of bytes."""

    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + prod(self.shape) * self.dtype.itemsize

    def of(self, buffer: Tensor) -> Tensor:
        """The array itself, a view of the buffer, uint8 [bytes]."""
        return buffer[self.offset : self.end].view(self.dtype).view(self.shape)

    def array(self, buffer: Tensor) -> NDArray[np.generic]:
        """The same view of a buffer on the host, for numpy."""
        values: NDArray[np.generic] = self.of(buffer).numpy()
        return values


class Shapes:
    """The shapes that batches of one bundle are brought to, and how each lies in memory.

    Texts are padded to one of `lengths`, 16 at most; rows are not padded: the batcher makes batches of the sizes that
    there are graphs for.
    """

    def __init__(self, config: Config, sizes: Sequence[int]) -> None:
        """`sizes`: rows of a batch that has graphs, in any order."""
        self._config = config
        self._sizes = sorted(sizes, reverse=True)
        self._texts = {name: m.max_tokens for name, m in config.modalities.items() if isinstance(m, TextModality)}
        longest = max(self._texts.values(), default=0)
        step = max(_SHORTEST_STEP, -(-longest // (_MOST_LENGTHS * _SHORTEST_STEP)) * _SHORTEST_STEP)
        self.lengths = tuple(min(length, longest) for length in range(step, longest + step, step))

    def of(self, items: Sequence[Item], narrowed: Narrowed | None = None) -> Shape:
        """The shape that these items run in."""
        pattern = tuple(name for name in self._config.modalities if any(name in item for item in items))
        longest = max((len(item[name]) for item in items for name in self._texts if name in item), default=0)
        further = 0 if narrowed is None else len(narrowed.rows)
        return Shape(len(items), pattern, padded_length(longest, self.lengths), further)

    def graphs(self) -> list[Shape]:
        """The shapes to capture, larger before smaller: those with every modality first, MOST_GRAPHS at most."""
        shapes = [
            Shape(rows, pattern, length)
            for pattern in patterns_of(self._config)
            for rows in self._sizes
            for length in (self.lengths[::-1] if self._texts.keys() & pattern else (0,))
        ]
        return shapes[:MOST_GRAPHS]

    def largest(self) -> Shape:
        """The shape that needs the most memory."""
        return Shape(self._sizes[0], tuple(self._config.modalities), max(self.lengths, default=0))

    def regions(self, shape: Shape) -> tuple[dict[str, Region], Region]:
        """Where each modality of the shape and `present`, a row an answer, lie one behind another in one buffer."""
        regions = {}
        end = 0
        for name in shape.pattern:
            modality = self._config.modalities[name]
            if isinstance(modality, TextModality):
                regions[name] = Region(end, (shape.rows, min(shape.length, modality.max_tokens)), torch.int64)
            else:
                regions[name] = Region(end, (shape.rows, modality.height, modality.width, 3), torch.uint8)
            end = -(-regions[name].end // _ALIGNMENT) * _ALIGNMENT
        return regions, Region(end, (shape.answers, len(self._config.modalities)), torch.bool)

    def rows(self, shape: Shape) -> Region:
        """Where it stands which row each answer is to, behind the others; empty where each row has its own alone."""
        end = self.regions(shape)[1].end
        if not shape.further:
            return Region(end, (0,), torch.int64)
        return Region(-(-end // _ALIGNMENT) * _ALIGNMENT, (shape.answers,), torch.int64)
