"""The drawn pictures: the script that is in the repository draws those that are in the repository."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "examples" / "pictures"
SAMPLES = ROOT / "app" / "web" / "static" / "samples"
NAMES = sorted(path.name for path in PICTURES.glob("*.jpg"))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), dtype=np.float32)


def test_the_script_draws_the_committed_pictures(tmp_path: Path) -> None:
    """Two of them, compared loosely: versions of Pillow round differently."""
    code = (
        "import sys; from pathlib import Path; import draw\n"
        "for name in ('perfume', 'sunglasses'): draw.DRAWINGS[name]().save(Path(sys.argv[1]) / f'{name}.jpg')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT / "examples", check=True, timeout=120)
    for name in ("perfume.jpg", "sunglasses.jpg"):
        assert np.abs(pixels(tmp_path / name) - pixels(PICTURES / name)).mean() < 2


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_a_small_catalogue_photo_on_white(name: str) -> None:
    picture = pixels(PICTURES / name)
    assert picture.shape == (800, 600, 3)
    assert (PICTURES / name).stat().st_size < 100_000
    for corner in (picture[:20, :20], picture[:20, -20:], picture[-20:, :20], picture[-20:, -20:]):
        assert corner.min() > 245
    assert 0.03 < (picture.min(axis=2) < 235).mean() < 0.7, "the product fills a good part of the picture"


@pytest.mark.parametrize("name", NAMES)
def test_the_page_s_sample_is_the_same_picture(name: str) -> None:
    small = Image.open(SAMPLES / name)
    assert small.size == (300, 400)
    assert (SAMPLES / name).stat().st_size < 30_000
    large = Image.open(PICTURES / name).resize((300, 400), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(small, dtype=np.float32) - np.asarray(large, dtype=np.float32)).mean() < 2


def test_every_sample_of_the_page_has_a_picture_and_a_text() -> None:
    samples = json.loads((SAMPLES / "samples.json").read_text())
    assert sorted(sample["picture"] for sample in samples) == NAMES
    assert all(sample["text"] and sample["name"] for sample in samples)
