"""What scaled JPEG decoding saves, and what it costs in answers.

    python -m benchmarks.jpeg
    python -m benchmarks.jpeg --images images.zip --table styles.csv --split test --count 1500

Uploads of catalogue size are decoded whole by Pillow, as in training, and by intake, which scales in the DCT domain as
far as leaves a multiple of what the network reads. For each multiple it prints core milliseconds, the mean difference
in grey levels, and for every task how many labels are those behind whole decoding. With `--table`, a CSV with a column
`id` that names the files and one for each task, it also prints how many are right.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.intake.jpeg import ENOUGH, decode_scaled, read_frame, reduction, scaled_box
from app.serving.runtime import run
from app.serving.runtimes.choice import choose_runtime
from benchmarks.uploads import ROOT, make
from model.bundle import Bundle, load_bundle
from model.config import ImageModality
from model.preprocess import fit, pixels

MULTIPLES = (3.0, 2.0, ENOUGH, 1.0)
_BATCH = 32
_SEED = 0

Pixels = NDArray[np.uint8]


def whole(data: bytes, modality: ImageModality) -> Pixels:
    """As training decodes."""
    with Image.open(BytesIO(data)) as image:
        return pixels(image, modality)


def scaled(data: bytes, modality: ImageModality, enough: float) -> Pixels:
    """As intake decodes a plain file. Raises ValueError for another."""
    frame = read_frame(data)
    factor = reduction(frame.shown, modality, enough) if frame else 1
    samples = decode_scaled(data, frame, factor) if frame else None
    if frame is None or samples is None:
        raise ValueError("an upload is not a plain JPEG file")
    image = Image.fromarray(samples)
    return fit(image, modality, None, scaled_box(frame.shown, image.size, factor, frame.orientation))


def core_ms(decode: Callable[[bytes], Pixels], files: list[bytes]) -> tuple[list[Pixels], float]:
    """What comes of the files, and the milliseconds of the processor that one takes."""
    began = time.thread_time()
    found = [decode(data) for data in files]
    return found, 1000 * (time.thread_time() - began) / len(files)


def labels(bundle: Bundle, name: str, pictures: list[Pixels]) -> dict[str, NDArray[np.int64]]:
    """Each task's likeliest class for pictures alone."""
    runtime = choose_runtime(bundle, device="cpu")
    found: dict[str, list[NDArray[np.int64]]] = {}
    for start in range(0, len(pictures), _BATCH):
        outputs = run(runtime, [{name: picture} for picture in pictures[start : start + _BATCH]])
        for task, probabilities in outputs.probabilities.items():
            if bundle.config.tasks[task].kind in ("multiclass", "ordinal"):
                found.setdefault(task, []).append(probabilities.argmax(axis=1))
    return {task: np.concatenate(parts) for task, parts in found.items()}


def rows_of(table: Path, split: str | None, count: int) -> list[dict[str, str]]:
    """The first rows of a split, in the order in which benchmarks/uploads.py draws their files."""
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if split is None or row.get("split") == split]
    rows = sorted(rows[:count], key=lambda row: row["id"])
    return [rows[index] for index in np.random.default_rng([_SEED, 2]).permutation(len(rows))]


def photos_of(images: Path, rows: list[dict[str, str]], folder: Path) -> None:
    """Put the rows' photos from a zip file into a folder of their own. Raises KeyError for one that is not there."""
    with zipfile.ZipFile(images) as archive:
        names = {Path(name).stem: name for name in archive.namelist()}
        for row in rows:
            (folder / f"{row['id']}.jpg").write_bytes(archive.read(names[row["id"]]))


def compare(bundle: Bundle, files: list[bytes], rows: list[dict[str, str]]) -> dict[str, Any]:
    """Every way of decoding beside the first, whole decoding."""
    name, modality = next((n, m) for n, m in bundle.config.modalities.items() if isinstance(m, ImageModality))
    expected, cost = core_ms(lambda data: whole(data, modality), files)
    first = labels(bundle, name, expected)
    result: dict[str, Any] = {"whole": {"core_ms": cost, "right": _right(bundle, first, rows)}}
    for multiple in MULTIPLES:
        found, cost = core_ms(lambda data, multiple=multiple: scaled(data, modality, multiple), files)
        answers = labels(bundle, name, found)
        result[f"{multiple:g}"] = {
            "core_ms": cost,
            "difference": float(
                np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(found, expected, strict=True)])
            ),
            "same": {task: float((answers[task] == first[task]).mean()) for task in first},
            "right": _right(bundle, answers, rows),
        }
    return result


def _right(bundle: Bundle, answers: dict[str, NDArray[np.int64]], rows: list[dict[str, str]]) -> dict[str, float]:
    shares = {}
    for task, found in answers.items():
        known = bundle.config.tasks[task].labels
        pairs = [(known[c], row[task]) for c, row in zip(found, rows, strict=False) if row.get(task) in known]
        if pairs:
            shares[task] = sum(a == b for a, b in pairs) / len(pairs)
    return shares


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "weights" / "fashion")
    parser.add_argument("--images", type=Path, help="a zip file of photos to enlarge instead of drawings")
    parser.add_argument("--table", type=Path, help="a CSV with the photos' ids and labels")
    parser.add_argument("--split", help="only rows whose column `split` says so")
    parser.add_argument("--count", type=int, default=128)
    arguments = parser.parse_args()
    if (arguments.images is None) != (arguments.table is None):
        parser.error("--images and --table go together")
    rows = rows_of(arguments.table, arguments.split, arguments.count) if arguments.table else []
    with tempfile.TemporaryDirectory() as folder:
        if rows:
            photos_of(arguments.images, rows, Path(folder))
        files = [upload.image for upload in make(len(rows) or arguments.count, _SEED, Path(folder) if rows else None)]
    result = compare(load_bundle(arguments.bundle), files, rows)
    for way, figures in result.items():
        for kind in ("same", "right"):
            if figures.get(kind):
                figures[f"{kind}_mean"] = float(np.mean(list(figures[kind].values())))
        print(json.dumps({"enough": way, **figures}))


if __name__ == "__main__":
    main()
