"""A table with pictures that a training config can read, made from a seed: sizes and lengths like a shop's."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
from PIL import Image

from model.config import Config, ImageModality, TextModality

_CLASSES = 20
_WORDS = (
    "puma nike adidas men women boys girls blue black white red green printed striped solid casual sports shirt tshirt "
    "shoes watch bag kurta jeans dress sandal cap belt socks wallet leather cotton round neck slim fit"
).split()


def make_data(folder: Path, config: Config, rows: int, seed: int = 0) -> None:
    """Write the config's table and one JPEG file for each row and image modality into `folder`.

    Labels are drawn independently of the pictures, so that there is nothing to learn: only time is measured on it.
    """
    generator = np.random.default_rng(seed)
    split = config.data.split or "split"
    identity = config.data.id or "id"
    values: dict[str, list[str]] = {}
    for name, task in sorted(config.tasks.items(), key=lambda item: item[1].map is None):
        # The values of a mapped column come first: another task may read the same column as it is.
        values.setdefault(task.column or name, _values(task.kind, list(task.map or {})))
    texts = [c for m in config.modalities.values() if isinstance(m, TextModality) for c in m.columns]
    columns = [identity, split, *values, *(column for column in texts if column not in values)]
    with (folder / config.data.table).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for number in range(rows):
            row = {column: str(generator.choice(options)) for column, options in values.items()}
            row |= {column: _title(generator) for column in texts if column not in values}
            row |= {identity: str(number), split: "val" if number % 10 == 0 else "train"}
            writer.writerow(row)
            for modality in config.modalities.values():
                if isinstance(modality, ImageModality):
                    path = folder / re.sub(r"\{([^}]+)\}", lambda match, row=row: row[match[1]], modality.path)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    _picture(modality, generator).save(path, quality=90)


def _values(kind: str, mapped: list[str]) -> list[str]:
    if mapped:
        return mapped
    if kind in ("ordinal", "regression"):
        return [str(value) for value in range(2008, 2018)]
    if kind == "binary":
        return ["no", "yes"]
    return [f"class {number}" for number in range(_CLASSES)]


def _title(generator: np.random.Generator) -> str:
    return " ".join(generator.choice(_WORDS, size=int(generator.integers(3, 11))))


def _picture(modality: ImageModality, generator: np.random.Generator) -> Image.Image:
    """A coloured blob with grain on a white ground, at the modality's own size."""
    y, x = np.mgrid[-1 : 1 : modality.height * 1j, -1 : 1 : modality.width * 1j]
    inside = (x / generator.uniform(0.4, 0.9)) ** 2 + (y / generator.uniform(0.4, 0.9)) ** 2 < 1
    colour = generator.integers(0, 200, 3) + generator.normal(0, 20, (modality.height, modality.width, 3))
    return Image.fromarray(np.where(inside[..., None], colour, 255.0).clip(0, 255).astype(np.uint8))
