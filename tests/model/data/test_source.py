"""Where a data set may lie, and what is said when it does not."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.data import DataError, Dataset, Source, load_dataset
from tests.model.data.shop import config, jpeg, make_shop, products, zip_folder


def _folder(shop: Path) -> Path:
    return shop


def _table_itself(shop: Path) -> Path:
    return shop / "styles.csv"


def _images_zip(shop: Path) -> Path:
    with zipfile.ZipFile(shop / "images.zip", "w") as archive:
        for file in (shop / "images").iterdir():
            archive.write(file, f"images/{file.name}")
    shutil.rmtree(shop / "images")
    return shop


def _images_zip_without_folder(shop: Path) -> Path:
    zip_folder(shop / "images", shop / "images.zip")
    shutil.rmtree(shop / "images")
    return shop


def _one_zip(shop: Path) -> Path:
    return zip_folder(shop, shop.parent / "everything.zip")


def _one_zip_with_top_folder(shop: Path) -> Path:
    return zip_folder(shop, shop.parent / "everything.zip", prefix="archive/data/")


@pytest.mark.parametrize(
    "layout",
    [_folder, _table_itself, _images_zip, _images_zip_without_folder, _one_zip, _one_zip_with_top_folder],
)
def test_every_layout_gives_the_same_data(tmp_path: Path, layout: Callable[[Path], Path]) -> None:
    expected = load_dataset(config(), make_shop(tmp_path / "plain"), cache=tmp_path / "one")
    data = load_dataset(config(), layout(make_shop(tmp_path / "shop")), cache=tmp_path / "two")
    assert not data.faults
    assert data.fingerprint == expected.fingerprint
    _assert_same(data, expected)


def _assert_same(data: Dataset, expected: Dataset) -> None:
    for name, split in expected.splits.items():
        assert data.splits[name].ids == split.ids
        assert data.splits[name].texts == split.texts
        np.testing.assert_array_equal(data.splits[name].images["image"], split.images["image"])
        assert split.images["image"].any()


def test_the_table_nearest_to_the_top_of_a_zip_is_taken(tmp_path: Path) -> None:
    make_shop(tmp_path / "shop")
    make_shop(tmp_path / "shop" / "copy", products(train=30))
    data = load_dataset(config(), zip_folder(tmp_path / "shop", tmp_path / "all.zip"))
    assert len(data.splits["train"]) == 6


def test_a_folder_without_the_table_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"no styles\.csv in this folder; it holds other\.csv"):
        Source(tmp_path, "styles.csv")


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        Source(tmp_path / "nowhere", "styles.csv")


def test_a_zip_without_the_table_says_which_tables_it_has(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("products.csv", "id\n")
    with pytest.raises(DataError, match=r"no styles\.csv in this zip; its tables are products\.csv"):
        Source(tmp_path / "all.zip", "styles.csv")


@pytest.mark.parametrize("name", ["all.zip", "images.zip"])
def test_a_cut_off_zip_is_refused_by_name(tmp_path: Path, shop: Path, name: str) -> None:
    whole = zip_folder(shop, tmp_path / "whole.zip").read_bytes()
    if name == "images.zip":
        shutil.rmtree(shop / "images")
    (shop / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"{name}: not a readable zip"):
        load_dataset(config(), shop / name if name == "all.zip" else shop)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_name_from_the_table_cannot_leave_the_data_folder(tmp_path: Path, shop: Path, zipped: bool) -> None:
    (tmp_path / "secret.jpg").write_bytes(jpeg(99))
    with Source(zip_folder(shop, tmp_path / "all.zip") if zipped else shop, "styles.csv") as source:
        assert source.read("images/../images/1.jpg") == jpeg(1)
        for name in ("images/../../secret.jpg", "../secret.jpg", str(tmp_path / "secret.jpg"), "images/\0.jpg", ""):
            with pytest.raises(FileNotFoundError):
                source.read(name)
            assert source.signature(name) == ""


def test_the_signature_of_a_file_changes_with_its_content(tmp_path: Path, shop: Path) -> None:
    with Source(zip_folder(shop, tmp_path / "one.zip"), "styles.csv") as one:
        before = one.signature("images/1.jpg")
    (shop / "images" / "1.jpg").write_bytes(jpeg(2))
    with Source(zip_folder(shop, tmp_path / "two.zip"), "styles.csv") as two:
        assert two.signature("images/1.jpg") != before
        assert two.signature("images/2.jpg") != ""


def test_a_damaged_member_is_one_corrupt_image(tmp_path: Path, shop: Path) -> None:
    content = bytearray(zip_folder(shop, tmp_path / "all.zip").read_bytes())
    at = content.index((shop / "images" / "3.jpg").read_bytes())
    content[at + 40] ^= 0xFF
    (tmp_path / "all.zip").write_bytes(content)
    data = load_dataset(config(), tmp_path / "all.zip")
    assert data.faults.counts == {"corrupt image": 1}
    assert data.faults.examples["corrupt image"][0].id == "3"
