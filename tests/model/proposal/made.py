"""Small data sets of several domains, made for the tests: tables with pictures, texts, questions and gaps."""

from __future__ import annotations

import csv
import random
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_WORDS = "bright quiet large small renovated garden balcony kitchen light oak floor street park view near city".split()


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    """A picture that no other seed gives."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.NEAREST)


def write_csv(path: Path, table: Mapping[str, Sequence[Any]]) -> Path:
    """Write columns as CSV; None is an empty cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


def paragraph(rng: random.Random, words: int = 60) -> str:
    """Sentences, with commas, that no other row has."""
    drawn = rng.choices(_WORDS, k=words)
    return " ".join(word + ("," if i % 7 == 3 else ".\n" if i % 15 == 14 else "") for i, word in enumerate(drawn))


def homes(folder: Path, rows: int = 90) -> Path:
    """Real estate: photos of several sizes in one folder (a third missing), paragraphs, prices, agents, gaps."""
    rng = random.Random(1)
    table: dict[str, list[Any]] = {name: [] for name in _HOMES}
    (folder / "photos").mkdir(parents=True)
    for number in range(rows):
        rooms = rng.randint(1, 5)
        photo = f"house_{number}.jpg"
        if number % 3:
            picture(number, rng.choice([(160, 120), (120, 160), (200, 100), (90, 90)])).save(folder / "photos" / photo)
        values = [
            7000 + 3 * number + rng.randint(0, 2),
            photo,
            paragraph(rng) if number % 3 != 1 else "",
            None if number % 5 == 0 else 100_000 * rooms + rng.randint(0, 50_000),
            rooms,
            rng.choice(["flat", "house", "house", "loft"]),
            rng.choice(["yes", "no"]) if number % 4 else "",
            f"agent{number // 3}",
            round(48 + rng.random(), 5),
            "EUR",
            f"https://homes.example/{number}",
            f"2024-03-{number % 28 + 1:02d}",
        ]
        for column, value in zip(table.values(), values, strict=True):
            column.append(value)
    return write_csv(folder / "homes.csv", table)


_HOMES = (
    "listing_id", "photo", "description", "price", "rooms", "type", "furnished", "agent_id", "lat", "currency", "url",
    "listed",
)  # fmt: skip


def books(folder: Path, rows: int = 90, separator: str = "|") -> Path:
    """Books: no picture, two text columns, genres in one cell, a rating, yes or no, gaps, no id."""
    rng = random.Random(2)
    genres = ["fantasy", "crime", "history", "young adult", "poetry"]
    table: dict[str, list[Any]] = {
        "title": [f"The {rng.choice(_WORDS)} {rng.choice(_WORDS)} of {number}" for number in range(rows)],
        "blurb": [paragraph(rng, 20) if number % 3 else "" for number in range(rows)],
        "genres": [separator.join(rng.sample(genres, rng.randint(1, 3))) if n % 6 else "" for n in range(rows)],
        "in_print": [rng.choice(["Yes", "No"]) for _ in range(rows)],
        "rating": [rng.randint(1, 5) if number % 7 else "N/A" for number in range(rows)],
        "language": [rng.choice(["English", "French", "?"]) for _ in range(rows)],
    }
    return write_csv(folder / "books.csv", table)


def fashion(folder: Path, rows: int = 80) -> Path:
    """The layout of the fashion data: styles.csv, images.zip, splits, groups."""
    rng = random.Random(3)
    kinds = {"Shirts": "Apparel", "Jeans": "Apparel", "Watches": "Accessories", "Belts": "Accessories"}
    chosen = [rng.choice(list(kinds)) for _ in range(rows)]
    ids = [1000 + 7 * number + rng.randint(0, 3) for number in range(rows)]
    colours = ["Navy Blue", "Red", "Black"]
    table: dict[str, list[Any]] = {
        "id": ids,
        "masterCategory": [kinds[kind] for kind in chosen],
        "articleType": chosen,
        "baseColour": [rng.choice(colours) for _ in range(rows)],
        "year": [rng.randint(2010, 2013) for _ in range(rows)],
        "productDisplayName": [f"Acme Men {rng.choice(_WORDS)} {kind} {n}" for n, kind in enumerate(chosen)],
        "split": ["train" if n % 10 < 6 else "val" if n % 10 < 8 else "test" for n in range(rows)],
        "group": [ids[number - number % 2] for number in range(rows)],
    }
    path = write_csv(folder / "styles.csv", table)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number, id in enumerate(ids):
            with archive.open(f"images/{id}.jpg", "w") as file:
                picture(number, (60, 80)).save(file, "JPEG")
    return path
