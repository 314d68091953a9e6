"""A small made data set: discs and bars in three colours, with titles that mostly name them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (30, 50, 200)}
SHAPES = ("bar", "disc")
COLUMNS = ("id", "shape", "colour", "tags", "round", "size", "year", "title", "split")


def document(**training: Any) -> dict[str, Any]:
    """A training config with a task of every kind."""
    return {
        "name": "shapes",
        "modalities": {
            "image": {
                "kind": "image",
                "height": 16,
                "width": 12,
                "encoder": {"kind": "conv", "widths": [8, 16], "depths": [1, 1], "stem_stride": 1, "dropout": 0.0},
            },
            "text": {
                "kind": "text",
                "columns": ["title"],
                "vocab_size": 100,
                "max_tokens": 10,
                "word_dropout": 0.2,
                "encoder": {"kind": "bert", "width": 16, "layers": 1, "heads": 2, "feedforward": 32, "dropout": 0.0},
            },
        },
        "tasks": {
            "shape": {"kind": "multiclass"},
            "colour": {"kind": "multiclass"},
            "tags": {"kind": "multilabel", "separator": "|"},
            "round": {"kind": "binary"},
            "size": {"kind": "regression"},
            "year": {"kind": "ordinal"},
        },
        "network": {"width": 24, "heads": 2, "trunk_layers": 1, "task_width": 16, "dropout": 0.0},
        "relation": {"kind": "label_affinity", "threshold": 0.3},
        "training": {
            "epochs": 8,
            "batch_size": 16,
            "learning_rate": 0.008,
            "ema_decay": 0.9,
            "precision": "fp32",
            "patience": 6,
        }
        | training,
    }


def make_shapes(
    folder: Path, *, train: int = 320, val: int = 80, test: int = 60, seed: int = 0, gaps: bool = False
) -> Path:
    """Write styles.csv and images/; with `gaps` a third of the rows lack the picture, another third the title."""
    generator = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, split in enumerate(["train"] * train + ["val"] * val + ["test"] * test):
        shape = SHAPES[int(generator.integers(2))]
        colour = list(COLOURS)[int(generator.integers(3))]
        radius = int(generator.integers(3, 6))
        image = Image.new("RGB", (12, 16), tuple(int(v) for v in generator.integers(235, 256, 3)))
        draw = ImageDraw.Draw(image)
        x, y = int(generator.integers(5, 8)), int(generator.integers(6, 11))
        height = radius if shape == "disc" else 1
        box = (x - radius, y - height, x + radius, y + height)
        (draw.ellipse if shape == "disc" else draw.rectangle)(box, fill=COLOURS[colour])
        if not (gaps and number % 3 == 0):
            image.save(folder / "images" / f"{number}.jpg", quality=95)
        title = "" if gaps and number % 3 == 1 else f"{colour} {shape} number {number % 17}"
        tags = "|".join([colour, *(["big"] if radius > 3 else [])])
        rows.append(
            [number, shape, colour, tags, "yes" if shape == "disc" else "no", radius * 1.5, 2010 + radius, title, split]
        )
    with (folder / "styles.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return folder


def write_config(path: Path, content: dict[str, Any]) -> Path:
    """Write a config document as YAML."""
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path
