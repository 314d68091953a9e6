"""Parts of an input taken away: cells of a picture, words of a text. What an answer loses by it, the part had given.

Pictures: occlusion, by a window that hides one place after another (Zeiler and Fergus, "Visualizing and Understanding
Convolutional Networks", 2014). Texts: representation erasure, each word left out in turn (Li, Monroe and Jurafsky,
"Understanding Neural Networks through Representation Erasure", 2016).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.config import ImageModality
from model.preprocess import TextTokenizer

CELLS = 48  # of a picture, about
MOST_WORDS = 48  # of a text that are erased one by one; of a longer one, runs of neighbours

# In scripts that are written without spaces, each character is a word of its own.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Grid:
    """A picture divided into cells, row by row, from the top left."""

    rows: int
    columns: int
    height: int  # pixels of the picture
    width: int

    def __len__(self) -> int:
        """How many cells there are."""
        return self.rows * self.columns

    def box(self, cell: int) -> tuple[slice, slice]:
        """The pixels of a cell."""
        row, column = divmod(cell, self.columns)
        return (
            slice(row * self.height // self.rows, (row + 1) * self.height // self.rows),
            slice(column * self.width // self.columns, (column + 1) * self.width // self.columns),
        )


def grid_of(modality: ImageModality) -> Grid:
    """About CELLS cells that are nearly square."""
    rows = max(1, min(modality.height, CELLS, round((CELLS * modality.height / modality.width) ** 0.5)))
    return Grid(rows, max(1, min(modality.width, round(CELLS / rows))), modality.height, modality.width)


def windows_of(grid: Grid) -> list[list[int]]:
    """The windows that hide one place after another, as the cells of each: two by two, a cell further each time."""
    down, right = min(2, grid.rows), min(2, grid.columns)
    return [
        [(row + i) * grid.columns + column + j for i in range(down) for j in range(right)]
        for row in range(grid.rows - down + 1)
        for column in range(grid.columns - right + 1)
    ]


def over_cells(grid: Grid, weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weights of the windows, [windows, …], become those of the cells, [cells, …]: each the mean over its windows."""
    total = np.zeros((len(grid), *weights.shape[1:]))
    count = np.zeros((len(grid), *(1 for _ in weights.shape[1:])))
    for cells, weight in zip(windows_of(grid), weights, strict=True):
        total[cells] += weight
        count[cells] += 1
    result: NDArray[np.float64] = total / count
    return result


def mean_colour(picture: Pixels) -> list[int]:
    """What a window shows: it tells least of the picture's own. Others were tried: docs/explanations.md."""
    return [round(channel) for channel in picture.reshape(-1, 3).mean(axis=0).tolist()]


def hidden(picture: Pixels, grid: Grid, cells: Iterable[int], colour: Sequence[int]) -> Pixels:
    """A copy of a picture uint8 [H, W, 3] that shows nothing but a colour in some cells."""
    result = picture.copy()
    for cell in cells:
        result[grid.box(cell)] = colour
    return result


@dataclass(frozen=True)
class Word:
    """A word, or a run of words, as it stands in a text."""

    text: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """A text's words in order; of more than MOST_WORDS, as many runs of neighbours, which are about equally long."""
    spans = [match.span() for match in _WORD.finditer(text)]
    count = min(len(spans), MOST_WORDS)
    runs = [spans[len(spans) * n // count : len(spans) * (n + 1) // count] for n in range(count)]
    return [Word(text[run[0][0] : run[-1][1]], run[0][0], run[-1][1]) for run in runs]


def without(text: str, erased: Sequence[Word]) -> str:
    """The text less some of its words."""
    kept, end = [], 0
    for word in sorted(erased, key=lambda word: word.start):
        kept.append(text[end : word.start])
        end = word.end
    return "".join([*kept, text[end:]])


def read_part(text: str, tokenizer: TextTokenizer) -> str:
    """The beginning of a text, up to the end of a word, that is read: what follows changes no token."""
    ends = [match.end() for match in _WORD.finditer(text)]
    tokens = tokenizer(text).ids
    fewest = bisect_left(ends, True, key=lambda end: np.array_equal(tokenizer(text[:end]).ids, tokens))
    return text[: ends[fewest]] if fewest < len(ends) else text
