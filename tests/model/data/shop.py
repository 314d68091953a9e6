"""A small shop's data, made for the tests: a table of products and a picture of each."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from model.config import Config, parse_config

COLUMNS = ("id", "kind", "title", "split")


def document(**changes: Any) -> dict[str, Any]:
    """A config document for the shop: one picture, one text, one multiclass task."""
    base: dict[str, Any] = {
        "name": "shop",
        "modalities": {
            "image": {"kind": "image", "height": 16, "width": 12},
            "text": {"kind": "text", "columns": ["title"]},
        },
        "tasks": {"kind": {"kind": "multiclass"}},
    }
    return base | changes


def config(**changes: Any) -> Config:
    """`document`, validated."""
    return parse_config(document(**changes))


def picture(seed: int, size: tuple[int, int] = (12, 16)) -> Image.Image:
    """A picture that no other seed gives."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.NEAREST)


def jpeg(seed: int) -> bytes:
    """`picture` as a JPEG file."""
    buffer = io.BytesIO()
    picture(seed).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def products(train: int = 6, val: int = 2, test: int = 2) -> list[list[str]]:
    """Rows of COLUMNS; ids count from 1, kinds alternate between shoe and shirt."""
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    return [
        [str(number), ("shoe", "shirt")[number % 2], f"Title number {number}", split]
        for number, split in enumerate(splits, start=1)
    ]


def write_table(path: Path, rows: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows as CSV, quoted where needed."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def make_shop(folder: Path, rows: Sequence[Sequence[str]] | None = None, columns: Sequence[str] = COLUMNS) -> Path:
    """Write styles.csv and images/<id>.jpg for every row (default: `products()`) into a folder."""
    rows = products() if rows is None else rows
    images = folder / "images"
    images.mkdir(parents=True)
    write_table(folder / "styles.csv", rows, columns)
    for row in rows:
        (images / f"{row[0]}.jpg").write_bytes(jpeg(int(row[0])))
    return folder


def zip_folder(folder: Path, path: Path, prefix: str = "") -> Path:
    """Put every file below a folder into a zip, its name behind `prefix`."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path
