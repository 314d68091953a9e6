"""A share of a data set, as one run sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.config import Config
from model.data.dataset import Dataset, Split

# Fewer rows would fit temperatures and β to noise.
_LEAST_VALIDATION = 500


def subset(dataset: Dataset, config: Config, fraction: float, seed: int) -> Dataset:
    """The data of one run: its config's modalities and tasks, and a share of the rows of train and val; all of test.

    The rows depend on the seed alone, so variants are compared on the same ones, and a smaller share is a part of a
    larger one. The validation rows shrink too, to 500 at least: who has few rows has few to calibrate on.
    """
    train, val = dataset.splits["train"], dataset.splits["val"]
    generator = np.random.default_rng(seed)
    splits = {
        "train": _take(
            train, dataset.config, config, generator.permutation(len(train))[: round(fraction * len(train))]
        ),
        "val": _take(
            val,
            dataset.config,
            config,
            generator.permutation(len(val))[: max(_LEAST_VALIDATION, round(fraction * len(val)))],
        ),
        "test": _take(dataset.splits["test"], dataset.config, config, None),
    }
    return Dataset(config, splits, dataset.faults, dataset.fingerprint)


def _take(split: Split, base: Config, config: Config, rows: NDArray[np.int64] | None) -> Split:
    columns = [list(base.modalities).index(name) for name in config.modalities]
    images = {name: pixels for name, pixels in split.images.items() if name in config.modalities}
    if rows is None or len(rows) == len(split):
        # All of them: the memory map itself, in its own order.
        rows = np.arange(len(split))
    else:
        rows = np.sort(rows)
        images = {name: np.ascontiguousarray(pixels[rows]) for name, pixels in images.items()}
    return Split(
        ids=[split.ids[row] for row in rows],
        images=images,
        texts={name: [texts[row] for row in rows] for name, texts in split.texts.items() if name in config.modalities},
        present=split.present[rows][:, columns],
        labels={name: split.labels[name][rows] for name in config.tasks},
    )
