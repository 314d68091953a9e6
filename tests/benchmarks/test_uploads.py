"""Uploads are of the stated sizes, all different, and the same from the same seed."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.uploads import FILE_BYTES, SIZE, TITLE_WORDS, Upload, load, make, title


@pytest.fixture(scope="module")
def uploads() -> list[Upload]:
    return list(make(4, seed=1))


def test_pictures_are_of_catalogue_size_in_pixels_and_in_bytes(uploads: list[Upload]) -> None:
    for upload in uploads:
        assert FILE_BYTES[0] <= len(upload.image) <= FILE_BYTES[1]
        with Image.open(BytesIO(upload.image)) as picture:
            assert picture.format == "JPEG"
            assert picture.mode == "RGB"
            for found, wanted in zip(picture.size, SIZE, strict=True):
                assert found == pytest.approx(wanted, rel=0.06)


def test_pictures_have_detail_on_the_product_and_a_light_ground(uploads: list[Upload]) -> None:
    for upload in uploads:
        values = np.asarray(Image.open(BytesIO(upload.image)).convert("L"), dtype=np.float64)
        assert np.median(values[:12]) > 225
        # Neighbours differ inside the product at every scale; a flat drawing has nothing but edges there.
        for step in (1, 4, 16):
            differences = np.abs(values[:, step:] - values[:, :-step])
            assert (differences[values[:, step:] < 200] > 2).mean() > 0.3


def test_all_differ_and_a_seed_gives_the_same_again(uploads: list[Upload]) -> None:
    assert len({upload.image for upload in uploads}) == len(uploads)
    assert list(make(2, seed=1)) == uploads[:2]
    assert next(make(1, seed=2)) != uploads[0]


def test_titles_are_short_and_long(uploads: list[Upload]) -> None:
    generator = np.random.default_rng(0)
    lengths = {len(title(generator, "Sports Shoes").split()) for _ in range(400)}
    assert lengths == set(range(TITLE_WORDS[0], TITLE_WORDS[1] + 1))


def test_photos_of_a_zip_file_are_enlarged(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for number in range(3):
            buffer = BytesIO()
            photo = np.full((80, 60, 3), 255, dtype=np.uint8)
            photo[20:60, 15:45] = generator.integers(0, 200, 3)
            Image.fromarray(photo).save(buffer, "JPEG")
            archive.writestr(f"images/{number}.jpg", buffer.getvalue())
    made = list(make(2, images=tmp_path / "photos.zip"))
    assert all(FILE_BYTES[0] <= len(upload.image) <= FILE_BYTES[1] for upload in made)
    with pytest.raises(ValueError, match="file in it"):
        next(make(1, images=tmp_path / "nothing"))


def test_what_was_made_is_read_from_the_cache(tmp_path: Path) -> None:
    first = load(1, seed=1, cache=tmp_path)
    file = next(tmp_path.rglob("00000.jpg"))
    file.write_bytes(b"cached")
    assert load(1, seed=1, cache=tmp_path)[0].image == b"cached"
    next(tmp_path.rglob("titles.json")).unlink()  # half a cache is made again
    assert load(1, seed=1, cache=tmp_path) == first
