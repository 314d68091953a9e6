"""Pictures are decoded once, completely or not at all, and never from a stale store."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.config import ImageModality
from model.data import DataError, Source
from model.data.images import ImageStore, Look
from model.preprocess import pixels
from tests.model.data.shop import jpeg, make_shop, picture, products

_ROOT = Path(__file__).parents[3]
MODALITY = ImageModality(kind="image", height=16, width=12)


def _names(count: int) -> list[str]:
    return [f"images/{number}.jpg" for number in range(1, count + 1)]


class _Watch:
    """Counts decodes by what progress tells."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.calls.append((what, done, total))


def _store(
    shop: Path, cache: Path, rows: list[int] | None = None, count: int = 10, modality: ImageModality = MODALITY
) -> tuple[list[Look], np.ndarray, bool]:
    """What was found, the pictures, and whether anything was decoded for it."""
    watch = _Watch()
    with (
        Source(shop, "styles.csv") as source,
        ImageStore(source, _names(count), modality, cache, "decode", watch) as store,
    ):
        looks = store.look()
        return looks, store.take(range(count) if rows is None else rows), bool(watch.calls)


def test_stored_pixels_are_those_of_the_preprocessing(shop: Path, cache: Path) -> None:
    looks, stored, _ = _store(shop, cache)
    assert isinstance(stored, np.memmap)
    assert stored.shape == (10, 16, 12, 3)
    assert stored.dtype == np.uint8
    assert not stored.flags.writeable
    for row, name in enumerate(_names(10)):
        with Image.open(shop / name) as image:
            np.testing.assert_array_equal(stored[row], pixels(image, MODALITY))
    assert len({look.digest for look in looks}) == 10


def test_a_second_run_decodes_nothing(shop: Path, cache: Path) -> None:
    looks, stored, decoded = _store(shop, cache)
    again, found, decoded_again = _store(shop, cache)
    assert decoded
    assert not decoded_again
    assert again == looks
    np.testing.assert_array_equal(found, stored)


def test_chosen_rows_are_stored_in_their_order(shop: Path, cache: Path) -> None:
    _, everything, _ = _store(shop, cache)
    _, chosen, _ = _store(shop, cache, [7, 0, 3])
    np.testing.assert_array_equal(chosen, everything[[7, 0, 3]])
    assert isinstance(chosen, np.memmap)
    _, _, decoded = _store(shop, cache, [7, 0, 3])
    assert not decoded


def test_no_rows_are_an_empty_store(shop: Path, cache: Path) -> None:
    assert _store(shop, cache, [])[1].shape == (0, 16, 12, 3)
    assert _store(shop, cache, count=0)[1].shape == (0, 16, 12, 3)


def test_missing_and_corrupt_pictures_are_zeros_with_a_reason(shop: Path, cache: Path) -> None:
    images = shop / "images"
    (images / "2.jpg").unlink()
    (images / "4.jpg").write_bytes(b"no picture at all")
    (images / "5.jpg").write_bytes(jpeg(5)[:-40])
    (images / "6.jpg").write_bytes(b"")
    for _ in range(2):  # decoded, then from the cache
        looks, stored, _ = _store(shop, cache)
        faults = {row + 1: look.fault for row, look in enumerate(looks) if look.fault}
        assert faults == {2: "missing image", 4: "corrupt image", 5: "corrupt image", 6: "corrupt image"}
        assert looks[1].message == "no file images/2.jpg"
        assert looks[3].message == "images/4.jpg: cannot identify image file"
        assert "truncated" in looks[4].message.lower()
        empty = {row + 1 for row in range(10) if not stored[row].any()}
        assert empty == set(faults)


def test_equal_pixels_in_different_files_have_one_digest(shop: Path, cache: Path) -> None:
    picture(3).save(shop / "images" / "1.jpg", "PNG")
    picture(3).save(shop / "images" / "2.jpg", "BMP")
    looks, _, _ = _store(shop, cache)
    assert looks[0].digest == looks[1].digest
    assert looks[0].digest != looks[2].digest  # the JPEG of the same picture has other pixels


def test_a_replaced_picture_is_decoded_again(shop: Path, cache: Path) -> None:
    _, before, _ = _store(shop, cache)
    (shop / "images" / "1.jpg").write_bytes(jpeg(77))
    _, after, decoded = _store(shop, cache)
    assert decoded
    assert (after[0] != before[0]).any()
    np.testing.assert_array_equal(after[1:], before[1:])


def test_a_picture_put_in_later_is_found(shop: Path, cache: Path) -> None:
    content = (shop / "images" / "1.jpg").read_bytes()
    (shop / "images" / "1.jpg").unlink()
    assert _store(shop, cache)[0][0].fault == "missing image"
    (shop / "images" / "1.jpg").write_bytes(content)
    assert _store(shop, cache)[0][0].fault == ""


@pytest.mark.parametrize("change", [{"fit": "stretch"}, {"background": (0, 0, 0)}, {"height": 12, "width": 16}])
def test_another_preprocessing_has_its_own_store(shop: Path, cache: Path, change: dict[str, object]) -> None:
    _store(shop, cache)
    assert _store(shop, cache, modality=MODALITY.model_copy(update=change))[2]
    assert not _store(shop, cache)[2]


def test_changed_arithmetic_does_not_find_the_old_store(
    shop: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _store(shop, cache)
    monkeypatch.setattr("model.data.images.pixels", lambda image, modality: 255 - pixels(image, modality))
    _, stored, decoded = _store(shop, cache)
    assert decoded
    with Image.open(shop / "images" / "1.jpg") as image:
        np.testing.assert_array_equal(stored[0], 255 - pixels(image, MODALITY))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_decode_leaves_nothing_behind(tmp_path: Path, cache: Path, error: type[BaseException]) -> None:
    shop = make_shop(tmp_path / "many", products(train=300))

    def stop(what: str, done: int, total: int) -> None:
        if done:
            raise error

    with (
        Source(shop, "styles.csv") as source,
        pytest.raises(error),
        ImageStore(source, _names(300), MODALITY, cache, "decode", stop) as store,
    ):
        store.look()
    assert list(cache.iterdir()) == []
    _, stored, decoded = _store(shop, cache, count=300)
    assert decoded
    assert all(stored[row].any() for row in range(300))


def test_a_killed_decode_leaves_no_half_written_store(tmp_path: Path, cache: Path) -> None:
    shop = make_shop(tmp_path / "many", products(train=300))
    program = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from model.config import ImageModality
        from model.data import Source
        from model.data.images import ImageStore

        def kill(what, done, total):
            if done:
                os.kill(os.getpid(), signal.SIGKILL)

        modality = ImageModality(kind="image", height=16, width=12)
        names = [f"images/{number}.jpg" for number in range(1, 301)]
        with ImageStore(Source(sys.argv[1], "styles.csv"), names, modality, Path(sys.argv[2]), "decode", kill) as store:
            store.look()
        """
    )
    ended = subprocess.run([sys.executable, "-c", program, str(shop), str(cache)], timeout=60, cwd=_ROOT)
    assert ended.returncode == -signal.SIGKILL
    left = list(cache.iterdir())
    assert [path.suffix for path in left] == [".partial"]

    _, stored, decoded = _store(shop, cache, count=300)
    assert decoded
    assert all(stored[row].any() for row in range(300))
    assert left[0].exists()  # it could be a running process's; a day later it is certainly not
    os.utime(left[0], (0, 0))
    _store(shop, cache, count=300)
    assert not left[0].exists()


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("damage", [b"", b"\x00nonsense", None])
def test_a_damaged_cache_file_is_made_again(shop: Path, cache: Path, suffix: str, damage: bytes | None) -> None:
    looks, stored, _ = _store(shop, cache)
    expected = np.array(stored)
    (file,) = cache.glob(f"*{suffix}")
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2] if damage is None else damage)
    again, found, decoded = _store(shop, cache)
    assert decoded
    assert again == looks
    np.testing.assert_array_equal(found, expected)
    assert not _store(shop, cache)[2]


def test_progress_counts_up_to_the_total(tmp_path: Path, cache: Path) -> None:
    shop = make_shop(tmp_path / "many", products(train=200))
    watch = _Watch()
    with Source(shop, "styles.csv") as source, ImageStore(source, _names(200), MODALITY, cache, "it", watch) as store:
        store.look()
    assert watch.calls[0] == ("it", 0, 200)
    assert watch.calls[-1] == ("it", 200, 200)
    assert [call[1] for call in watch.calls] == sorted(call[1] for call in watch.calls)


def test_a_full_disk_is_refused_before_anything_is_written(
    shop: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 100))
    with pytest.raises(DataError, match="0 MB are free; make room or set TRUNKLINE_CACHE"):
        _store(shop, cache)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write the image cache"):
        _store(shop, tmp_path / "file")
