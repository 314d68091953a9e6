"""From files to arrays: what a training run and an evaluation get."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.config import ImageModality
from model.data import DataError, load_dataset
from model.data.faults import KINDS, Faults
from model.preprocess import pixels
from tests.model.data.shop import COLUMNS, config, document, jpeg, make_shop, picture, products, write_table

IMAGE = ImageModality.model_validate(document()["modalities"]["image"])


def test_rows_stay_aligned_across_arrays_and_splits(shop: Path) -> None:
    data = load_dataset(config(), shop)
    rows = {row[0]: row for row in products()}
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "val": 2, "test": 2}
    assert data.config.tasks["kind"].labels == ("shirt", "shoe")
    assert not data.faults
    assert data.faults.render() == ""
    for name, split in data.splits.items():
        assert split.present.shape == (len(split), 2)
        assert split.present.all()
        for position, id in enumerate(split.ids):
            _, kind, title, where = rows[id]
            assert where == name
            assert split.texts["text"][position] == title
            assert data.config.tasks["kind"].labels[split.labels["kind"][position]] == kind
            with Image.open(shop / "images" / f"{id}.jpg") as image:
                expected = pixels(image, IMAGE)
            np.testing.assert_array_equal(split.images["image"][position], expected)


def test_only_the_splits_asked_for_are_decoded(shop: Path) -> None:
    told: list[tuple[str, int, int]] = []
    data = load_dataset(config(), shop, splits=["test"], progress=lambda *call: told.append(call))
    assert list(data.splits) == ["test"]
    assert told[-1] == ("decode image", 2, 2)
    assert data.config.tasks["kind"].labels == ("shirt", "shoe")  # learnt from the train rows all the same


def test_an_evaluation_finds_what_the_training_decoded(shop: Path) -> None:
    load_dataset(config(), shop)
    told: list[tuple[str, int, int]] = []
    load_dataset(config(), shop, splits=["test"], progress=lambda *call: told.append(call))
    assert told == []


def test_rows_without_a_modality_are_kept_without_it_and_rows_without_any_are_not(shop: Path) -> None:
    rows = products()
    rows[1][2] = " \u0000\t"  # row 2: no text
    (shop / "images" / "3.jpg").unlink()
    (shop / "images" / "4.jpg").write_bytes(b"GIF89a")
    rows[4][2] = ""  # row 5: neither
    (shop / "images" / "5.jpg").unlink()
    write_table(shop / "styles.csv", rows)
    data = load_dataset(config(), shop)
    train = data.splits["train"]
    assert train.ids == ["1", "2", "3", "4", "6"]
    assert train.present.tolist() == [[True, True], [True, False], [False, True], [False, True], [True, True]]
    assert train.texts["text"][1] == ""
    assert [bool(pixels.any()) for pixels in train.images["image"]] == [True, True, False, False, True]
    assert len(train.labels["kind"]) == len(train.images["image"]) == len(train) == 5
    assert data.faults.counts == {"missing image": 2, "corrupt image": 1, "empty text": 2, "nothing to read": 1}
    assert [example.id for example in data.faults.examples["missing image"]] == ["3", "5"]
    again = load_dataset(config(), shop)
    assert again.faults == data.faults
    np.testing.assert_array_equal(again.splits["train"].images["image"], train.images["image"])


def test_every_fault_is_survived_at_once_and_names_its_row(shop: Path) -> None:
    rows = products(train=8)
    rows[0][1] = ""  # missing label
    rows[1][2] = ""  # empty text
    rows[2][1] = "hat"  # class seen once
    rows[9][1] = "scarf"  # in val only
    rows[10][3] = "holdout"  # no such split
    write_table(shop / "styles.csv", rows)
    with (shop / "styles.csv").open("a") as table:
        table.write("3,shoe,Again,train\n13,shoe,One, two,train\n")
    (shop / "images" / "7.jpg").write_bytes(jpeg(7)[:100])
    for number in (11, 12):
        (shop / "images" / f"{number}.jpg").write_bytes(jpeg(number))
    (shop / "images" / "8.jpg").unlink()

    data = load_dataset(config(), shop)
    found = {
        kind: [(example.line, example.id) for example in data.faults.examples[kind]] for kind in data.faults.counts
    }
    assert found == {
        "missing label": [(2, "1")],
        "empty text": [(3, "2")],
        "class seen once": [(4, "3")],
        "unknown label": [(11, "10")],
        "unknown split": [(12, "11")],
        "duplicate id": [(14, "3")],
        "malformed row": [(15, "")],
        "corrupt image": [(8, "7")],
        "missing image": [(9, "8")],
    }
    assert data.config.tasks["kind"].labels == ("hat", "shirt", "shoe")
    assert data.splits["train"].labels["kind"][0] == -1
    assert data.splits["val"].labels["kind"].tolist() == [1, -1]
    rendered = data.faults.render()
    for kind, examples in found.items():
        assert f"{kind}: 1 ({KINDS[kind]})" in rendered
        assert f"line {examples[0][0]}" in rendered
    assert json.loads(json.dumps(data.faults.as_dict()))["missing image"]["examples"] == [
        {"line": 9, "id": "8", "message": "image: no file images/8.jpg"}
    ]


def test_labels_of_a_bundle_are_used_instead_of_learning_them(shop: Path) -> None:
    bundle = config(tasks={"kind": {"kind": "multiclass", "labels": ["boot", "shoe"]}})
    data = load_dataset(config(), shop, labels_from=bundle, splits=["test"])
    assert data.config.tasks["kind"].labels == ("boot", "shoe")
    assert data.splits["test"].labels["kind"].tolist() == [-1, 1]
    assert data.faults.counts == {"unknown label": 1}


def test_labels_of_a_bundle_without_the_task_are_refused(shop: Path) -> None:
    other = config(tasks={"colour": {"kind": "multiclass", "labels": ["a", "b"]}})
    with pytest.raises(DataError, match="task kind: not among the labels' tasks colour"):
        load_dataset(config(), shop, labels_from=other)


def test_without_a_split_column_look_alikes_stay_together(tmp_path: Path) -> None:
    rows = [[str(number), ("shoe", "shirt")[number % 2], f"Title {number}"] for number in range(1, 61)]
    for number in range(10):
        rows[number][2] = ("  same   TITLE ", "Same title")[number % 2]
    shop = make_shop(tmp_path / "shop", rows, COLUMNS[:3])
    for number in range(9, 21):  # 10 shares its title with 1 ... 9 and its pixels with 11 ... 20
        picture(500).save(shop / "images" / f"{number + 1}.jpg", ("PNG", "BMP")[number % 2])
    data = load_dataset(config(), shop)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 48, "val": 6, "test": 6}
    homes = {id: name for name, split in data.splits.items() for id in split.ids}
    assert len(homes) == 60
    assert {homes[str(number)] for number in range(1, 22)} == {"train"}
    again = load_dataset(config(), shop)
    assert {name: split.ids for name, split in again.splits.items()} == {
        name: split.ids for name, split in data.splits.items()
    }
    for name, split in data.splits.items():
        np.testing.assert_array_equal(split.images["image"], again.splits[name].images["image"])
        for position, id in enumerate(split.ids):
            with Image.open(shop / "images" / f"{id}.jpg") as image:
                expected = pixels(image, IMAGE)
            np.testing.assert_array_equal(split.images["image"][position], expected)


def test_the_division_follows_the_seed(tmp_path: Path) -> None:
    rows = [[str(number), ("shoe", "shirt")[number % 2], f"Title {number}"] for number in range(1, 61)]
    shop = make_shop(tmp_path / "shop", rows, COLUMNS[:3])
    ids = [load_dataset(config(training={"seed": seed}), shop).splits["test"].ids for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


def test_texts_are_joined_from_their_columns_and_normalised(shop: Path) -> None:
    rows = products()
    rows[0][2] = "ﬁne\u00a0 shoe\u0007"
    write_table(shop / "styles.csv", rows)
    modalities = {"note": {"kind": "text", "columns": ["kind", "title"]}}
    data = load_dataset(config(modalities=modalities), shop)
    assert data.splits["train"].texts["note"][:2] == ["shirt fine shoe", "shoe Title number 2"]
    assert data.splits["train"].images == {}
    assert data.splits["train"].present.shape == (6, 1)


def test_several_modalities_of_a_kind_in_the_order_of_the_config(shop: Path) -> None:
    (shop / "images" / "2.jpg").rename(shop / "images" / "2-back.jpg")
    modalities = {
        "kindly": {"kind": "text", "columns": ["kind"]},
        "back": {"kind": "image", "height": 8, "width": 8, "path": "images/{id}-back.jpg"},
        "image": {"kind": "image", "height": 16, "width": 12},
    }
    train = load_dataset(config(modalities=modalities), shop).splits["train"]
    assert train.present[:2].tolist() == [[True, False, True], [True, True, False]]
    assert train.images["back"].shape == (6, 8, 8, 3)
    assert train.images["image"].shape == (6, 16, 12, 3)


def test_an_empty_test_split_is_allowed(shop: Path) -> None:
    write_table(shop / "styles.csv", products(test=0))
    data = load_dataset(config(), shop)
    assert len(data.splits["test"]) == 0
    assert data.splits["test"].images["image"].shape == (0, 16, 12, 3)
    assert data.splits["test"].present.shape == (0, 2)


def test_an_empty_train_split_is_refused(tmp_path: Path) -> None:
    folder = make_shop(tmp_path / "two", products(train=0))
    with pytest.raises(DataError, match="no usable row in split train; mark rows with 'train' in column 'split'"):
        load_dataset(config(), folder)


def test_validation_rows_are_drawn_from_the_train_rows_where_the_table_names_none(tmp_path: Path) -> None:
    rows = products(train=40, val=0, test=4)
    for row in rows[:8]:
        row[2] = "The same title"
    folder = make_shop(tmp_path / "two", rows)
    data = load_dataset(config(), folder)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 36, "val": 4, "test": 4}
    assert data.splits["test"].ids == ["41", "42", "43", "44"]
    assert data.faults.counts == {"no validation rows": 1}
    homes = [{id in split.ids for id in map(str, range(1, 9))} for split in data.splits.values()]
    assert all(len(home) == 1 for home in homes)
    again = load_dataset(config(), folder, splits=("val",), labels_from=data.config)
    assert again.splits["val"].ids == data.splits["val"].ids


def test_rows_with_the_same_value_of_a_group_column_stay_together(tmp_path: Path) -> None:
    columns = ("id", "kind", "title", "seller")
    rows = [[str(n), ("shoe", "shirt")[n % 2], f"Title {n}", ("" if n > 40 else f"s{n // 8}")] for n in range(1, 61)]
    folder = make_shop(tmp_path / "two", rows, columns)
    data = load_dataset(config(data={"groups": ["seller"]}), folder)
    seller = {row[0]: row[3] for row in rows}
    sellers = [{seller[id] for id in split.ids} - {""} for split in data.splits.values()]
    assert sum(map(len, sellers)) == len(set.union(*sellers)) == 6
    # A row without a seller belongs to no group: such rows are not tied to one another.
    assert sum(any(not seller[id] for id in split.ids) for split in data.splits.values()) > 1
    with pytest.raises(DataError, match=r"no column 'shop' \(data.groups\)"):
        load_dataset(config(data={"groups": ["shop"]}), folder)


def test_a_data_set_without_any_picture_is_refused(shop: Path) -> None:
    for file in (shop / "images").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"no row has a usable image; the first one: no file images/1\.jpg"):
        load_dataset(config(), shop)


def test_a_data_set_without_any_text_is_refused(shop: Path) -> None:
    write_table(shop / "styles.csv", [[*row[:2], "", row[3]] for row in products()])
    with pytest.raises(DataError, match="no row has a usable text; fill in its columns, or remove modality text"):
        load_dataset(config(), shop)


def test_a_data_set_with_nothing_at_all_says_what_was_wrong(shop: Path) -> None:
    for file in (shop / "images").iterdir():
        file.unlink()
    write_table(shop / "styles.csv", [[*row[:2], "", row[3]] for row in products()])
    with pytest.raises(DataError, match=r"(?s)no usable row in split train.*missing image: 10.*empty text: 10"):
        load_dataset(config(), shop)


def test_a_task_with_one_class_is_refused(shop: Path) -> None:
    write_table(shop / "styles.csv", [[row[0], "shoe", *row[2:]] for row in products()])
    with pytest.raises(DataError, match=r"task kind \(multiclass\): column 'kind' has 1 usable class"):
        load_dataset(config(), shop)


def test_an_unknown_split_name_is_refused(shop: Path) -> None:
    with pytest.raises(DataError, match="no split dev; the splits are train, val, test"):
        load_dataset(config(), shop, splits=["dev"])


def test_the_default_cache_is_the_one_of_the_environment(shop: Path, cache: Path) -> None:
    load_dataset(config(), shop)
    assert list(cache.glob("*.npy"))


def test_a_fault_of_no_known_kind_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        Faults().add("bad luck", "x")


def test_examples_are_bounded_and_counts_are_not() -> None:
    faults = Faults()
    for line in range(12_000):
        faults.add("missing image", "x", line=line + 2)
    assert len(faults) == faults.counts["missing image"] == 12_000
    assert len(faults.as_dict()["missing image"]["examples"]) == 10_000
    assert "and 11997 more" in faults.render()


def test_without_a_split_column_in_the_config_the_tables_own_is_not_used(shop: Path) -> None:
    write_table(shop / "styles.csv", [[*row[:3], "left"] for row in products()])
    with pytest.raises(DataError, match="no usable row in split train"):
        load_dataset(config(), shop)
    data = load_dataset(config(data={"split": None}), shop)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 8, "val": 1, "test": 1}
