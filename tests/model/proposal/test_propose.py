"""What a careful person would write for a table, from houses to books."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from model.data import DataError
from model.proposal.document import render
from model.proposal.propose import Proposal, propose
from tests.model.proposal.made import books, fashion, homes, paragraph, picture, write_csv


def _uses(proposal: Proposal) -> dict[str, str]:
    return {name: verdict.shown for name, verdict in proposal.verdicts.items()}


def test_homes(tmp_path: Path) -> None:
    proposal = propose(homes(tmp_path))
    assert _uses(proposal) == {
        "listing_id": "id",
        "photo": "image",
        "description": "text",
        "price": "regression",
        "rooms": "ordinal",
        "type": "multiclass",
        "furnished": "binary",
        "agent_id": "group",
        "lat": "left out",
        "currency": "left out",
        "url": "left out",
        "listed": "left out",
    }
    image = proposal.document["modalities"]["image"]
    assert image["path"] == "photos/{photo}"
    assert image["height"] * image["width"] <= 1.2 * 96 * 96
    text = proposal.document["modalities"]["text"]
    assert text["columns"] == ["description"]
    assert text["max_tokens"] >= 60
    assert proposal.document["data"] == {"table": "homes.csv", "id": "listing_id", "groups": ["agent_id"]}
    assert proposal.document["tasks"]["furnished"] == {"kind": "binary", "labels": ["no", "yes"]}
    reasons = {name: verdict.reason for name, verdict in proposal.verdicts.items()}
    assert "60 of 90 rows have a picture" in reasons["photo"]
    assert "18 rows (20%) without a value" in reasons["price"]
    assert reasons["currency"] == "constant: 'EUR' in 90 rows"
    assert "coordinate" in reasons["lat"]
    assert "not fetched" in reasons["url"]
    assert "dates" in reasons["listed"]


@pytest.mark.parametrize("separator", ["|", ", ", ";", ","])
def test_books(tmp_path: Path, separator: str) -> None:
    proposal = propose(books(tmp_path, separator=separator))
    assert _uses(proposal) == {
        "title": "text",
        "blurb": "text",
        "genres": "multilabel",
        "in_print": "binary",
        "rating": "ordinal",
        "language": "multiclass",
    }
    assert proposal.document["tasks"]["genres"] == {"kind": "multilabel", "separator": separator}
    assert proposal.document["modalities"]["text"]["columns"] == ["title", "blurb"]
    assert proposal.document["data"]["id"] is None
    assert "'?'" in proposal.verdicts["language"].warnings[0]
    assert "13 rows (14%) without a value" in proposal.verdicts["rating"].reason


def test_the_fashion_layout(tmp_path: Path) -> None:
    proposal = propose(fashion(tmp_path))
    assert _uses(proposal) == {
        "id": "id",
        "masterCategory": "binary",
        "articleType": "multiclass",
        "baseColour": "multiclass",
        "year": "ordinal",
        "productDisplayName": "text",
        "split": "split",
        "group": "left out",
    }
    assert proposal.document["data"] == {"table": "styles.csv", "id": "id", "split": "split"}
    assert proposal.document["modalities"]["image"] == {
        "kind": "image", "path": "images/{id}.jpg", "height": 80, "width": 60, "fit": "pad",
    }  # fmt: skip
    assert "no group crosses a split" in proposal.verdicts["group"].reason
    assert (
        "articleType settles masterCategory (always): a hierarchy of classes, not independent questions"
        in proposal.notes
    )
    assert "no text stands in more than one split" in proposal.notes


def test_the_same_table_as_parquet_gives_the_same_proposal(tmp_path: Path) -> None:
    path = homes(tmp_path)
    of_csv = propose(path)
    table = pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(newlines_in_values=True))
    pq.write_table(table, tmp_path / "homes.parquet")
    of_parquet = propose(tmp_path / "homes.parquet")
    assert of_parquet.document == of_csv.document | {"data": of_csv.document["data"] | {"table": "homes.parquet"}}
    assert of_parquet.verdicts == of_csv.verdicts


def _column(tmp_path: Path, name: str, values: list[object]) -> Proposal:
    """A proposal for a table with a text, a task and this column."""
    rows = len(values)
    table = {
        "title": [f"A title of its own {number}" for number in range(rows)],
        "kind": ["abc"[number * number % 7 % 3] for number in range(rows)],
        name: values,
    }
    return propose(write_csv(tmp_path / "t.csv", table))


@pytest.mark.parametrize(
    ("name", "values", "use", "reason"),
    [
        ("area", [10.5 + n * 0.37 for n in range(60)], "regression", "60 different numbers, 10.5 to 32.33"),
        ("sold", [n * 37 % 1000 for n in range(60)], "regression", "median"),
        ("stars", [n % 9 / 2 + 1 for n in range(60)], "ordinal", "9 steps on a scale, 1 to 5"),
        ("category_id", [n % 4 for n in range(60)], "multiclass", "4 codes, whose order says nothing"),
        ("zip", [f"0{n % 6}139" for n in range(60)], "multiclass", "6 classes"),
        ("flag", [n % 2 for n in range(60)], "binary", "'0' or '1', the latter in 50.0% of rows"),
        ("user_id", [n // 2 * 11 for n in range(60)], "group", "tie 60 rows"),
        ("number", list(range(100, 160)), "id", "a value of its own"),
        ("code", [f"X{n * 7}" for n in range(60)], "id", "a value of its own"),
        ("nothing", [None] * 60, "left out", "no value in any row"),
        ("blank", ["n/a", "NaN", ""] * 20, "left out", "no value in any row"),
        ("few", ["x", "y", "z"] + [None] * 57, "left out", "a value in only 3 rows"),
        ("odd", ["same"] * 58 + ["other"] * 2, "left out", "nearly constant: all but 2 rows say 'same'"),
        ("mail", [f"a{n}@b.example" for n in range(60)], "left out", "e-mail"),
        ("cost", [f"${n},500" for n in range(60)], "left out", "numbers with signs or units"),
        ("tags", ["['a', 'b']", "['a']", "[]"] * 20, "left out", "lists or objects in brackets"),
        ("scan", [f"{n}.png" for n in range(60)], "left out", "no such picture lies beside the table"),
        ("shots", [f"{n}.png|{n}b.png" for n in range(60)], "left out", "several picture names in a cell"),
        ("town", ["Austin, TX", "Dallas, TX", "Reno, NV"] * 20, "multiclass", "3 classes"),
        ("shade", ["red/blue", "red", "blue", "blue/green/red"] * 15, "multilabel", "3 labels separated by '/'"),
        ("state", ["inactive", "active"] * 30, "binary", "'inactive' or 'active', the latter"),
        ("use", ["unfit", "fit"] * 30, "binary", "'unfit' or 'fit', the latter"),
        ("maker", [f"Ann Lee {n % 45}" for n in range(60)], "text", "3 words"),
        ("nick", [f"Nick{chr(65 + n % 45)}" for n in range(60)], "left out", "id-like"),
    ],
)
def test_a_column_is_judged_by_its_values(
    tmp_path: Path, name: str, values: list[object], use: str, reason: str
) -> None:
    proposal = _column(tmp_path, name, values)
    verdict = proposal.verdicts[name]
    assert verdict.shown == use
    assert reason in verdict.reason


def test_rare_and_look_alike_classes_are_told_of(tmp_path: Path) -> None:
    values = ["Red"] * 30 + ["red "] * 12 + ["Blue"] * 15 + ["Teal"] * 2 + ["none"]
    warnings = "\n".join(_column(tmp_path, "colour", values).verdicts["colour"].warnings)
    assert "2 of 5 classes in fewer than 10 rows ('none' 1, 'Teal' 2)" in warnings
    assert "'Red' and 'red'" in warnings
    assert "'none' (1) is taken for a class" in warnings


def test_a_code_beside_its_name_and_a_price_beside_another_are_one_question(tmp_path: Path) -> None:
    rows = 60
    names = ["shoe", "shirt", "belt"]
    table = {
        "title": [f"A title of its own {n}" for n in range(rows)],
        "type_code": [n % 3 for n in range(rows)],
        "type": [names[n % 3] for n in range(rows)],
        "price": [n * 3.5 for n in range(rows)],
        "weight": [(n * 17) % 61 for n in range(rows)],
    }
    proposal = propose(write_csv(tmp_path / "t.csv", table))
    assert set(proposal.document["tasks"]) == {"type", "price", "weight"}
    assert proposal.verdicts["type_code"].reason == "says the same as type, value for value"


def test_a_label_that_the_training_rows_lack_is_left_out_with_the_reason(tmp_path: Path) -> None:
    rows = 60
    table = {
        "title": [f"A title of its own {n}" for n in range(rows)],
        "kind": ["ab"[n % 2] for n in range(rows)],
        "late": ["old" if n < 40 else "new" for n in range(rows)],
        "split": ["train" if n < 40 else "val" for n in range(rows)],
    }
    proposal = propose(write_csv(tmp_path / "t.csv", table))
    assert list(proposal.document["tasks"]) == ["kind"]
    assert "1 usable class(es) in the training rows" in proposal.verdicts["late"].reason


def test_leaks_of_the_tables_own_split_are_told_of(tmp_path: Path) -> None:
    rows = 90
    table = {
        "title": [f"A title shared by three {n // 3}" for n in range(rows)],
        "kind": ["ab"[n % 2] for n in range(rows)],
        "customer_id": [n // 2 * 5 for n in range(rows)],
        "fold": [("train", "train", "test")[n % 3] for n in range(rows)],
    }
    proposal = propose(write_csv(tmp_path / "t.csv", table))
    notes = "\n".join(proposal.notes)
    assert proposal.document["data"]["split"] == "fold"
    assert "leakage: 30 of 30 rows of val and test have the text of a train row" in notes
    assert "leakage: 30 values of customer_id in more than one split" in notes
    assert "draws them from the train rows" in proposal.verdicts["fold"].warnings[0]


def test_a_column_called_split_that_holds_no_splits_is_not_used_as_one(tmp_path: Path) -> None:
    proposal = _column(tmp_path, "split", ["left", "right", "middle"] * 20)
    assert proposal.document["data"]["split"] is None
    assert proposal.verdicts["split"].shown == "multiclass"


def test_a_text_that_stands_for_a_missing_one_is_told_of(tmp_path: Path) -> None:
    rows = 60
    table = {
        "title": [f"A title of its own {n}" if n % 3 else "No description yet" for n in range(rows)],
        "kind": ["abc"[n * n % 7 % 3] for n in range(rows)],
    }
    notes = propose(write_csv(tmp_path / "t.csv", table)).notes
    assert any("'no description yet' stands in 20 rows, which all go to one split" in note for note in notes)
    assert any(note.startswith("20 rows (33%) share their text") for note in notes)


def test_a_class_that_nearly_always_settles_another_is_told_of(tmp_path: Path) -> None:
    rows = 400
    kinds = ["shirt", "jeans", "watch", "belt"]
    table = {
        "title": [f"A title of its own {n}" for n in range(rows)],
        "type": [kinds[n * n % 11 % 4] for n in range(rows)],
        "wear": ["body" if n * n % 11 % 4 < 2 and n != 3 else "other" for n in range(rows)],
        "colour": ["abc"[n * 7 % 10 % 3] for n in range(rows)],
    }
    notes = propose(write_csv(tmp_path / "t.csv", table)).notes
    settled = [note for note in notes if "settles" in note]
    assert settled == ["type settles wear (but for 1 row): a hierarchy of classes, not independent questions"]


def _shop(rows: int, odd: int = 0, **more: list[str]) -> dict[str, list[str]]:
    """Articles of kinds of sections; in so many rows the kind is another article's."""
    articles = ["shirt", "blouse", "jeans", "watch", "belt", "tie"]
    kind = {"shirt": "top", "blouse": "top", "jeans": "bottom", "watch": "watches", "belt": "belts", "tie": "belts"}
    section = {"top": "clothes", "bottom": "clothes", "watches": "jewels", "belts": "leather"}
    drawn = [articles[n * n * 7 % 43 % 6] for n in range(rows)]
    kinds = [kind[article] if n >= odd else "watches" for n, article in enumerate(drawn)]
    table = {
        "title": [f"A title of its own {n}" for n in range(rows)],
        "section": [section[kind] for kind in kinds],
        "article": drawn,
        "colour": ["abc"[n * 7 % 10 % 3] for n in range(rows)],
        "kind": kinds,
    }
    return table | more


def test_classes_that_lie_in_classes_are_a_hierarchy(tmp_path: Path) -> None:
    proposal = propose(write_csv(tmp_path / "t.csv", _shop(400)))
    assert proposal.document["hierarchies"] == [["article", "kind", "section"]]
    assert proposal.config.hierarchies == (("article", "kind", "section"),)
    assert proposal.reasons["hierarchies",] == (
        "article settles kind (always), kind settles section (always): answers of one request are to agree"
    )
    assert not [note for note in proposal.notes if "settles" in note], "it is said once"
    text = render(proposal, tmp_path / "c.yaml")
    assert "# article settles kind (always), kind settles section (always): answers" in text
    assert "\nhierarchies: [[article, kind, section]]\n" in text


@pytest.mark.parametrize("odd", [15, 40])
def test_a_hierarchy_may_have_few_exceptions(tmp_path: Path, odd: int) -> None:
    proposal = propose(write_csv(tmp_path / "t.csv", _shop(4000, odd)))
    if odd == 15:
        assert proposal.document["hierarchies"] == [["article", "kind", "section"]]
        assert "article settles kind (but for " in proposal.reasons["hierarchies",]
    else:
        assert proposal.document["hierarchies"] == [["kind", "section"]]
        assert any(note.startswith("article settles section") for note in proposal.notes)


def test_few_rows_and_classes_by_chance_are_no_hierarchy(tmp_path: Path) -> None:
    assert "hierarchies" not in propose(write_csv(tmp_path / "few.csv", _shop(45))).document
    usual = ["clothes"] * 400
    usual[::40] = ["other", "more"] * 5
    proposal = propose(write_csv(tmp_path / "usual.csv", _shop(400, section=usual)))
    assert proposal.document["hierarchies"] == [["article", "kind"]], "nearly every row says the same section"


def test_a_hierarchy_names_tasks_not_columns(tmp_path: Path) -> None:
    table = _shop(400)
    table["tasks"] = table.pop("section")  # an option of requests, so the task gets another name
    table["finer"] = [f"{article}{n % 3}" for n, article in enumerate(table["article"])]
    proposal = propose(write_csv(tmp_path / "t.csv", table))
    assert proposal.document["hierarchies"] == [["finer", "article", "kind", "tasks_label"]]
    assert proposal.document["tasks"]["tasks_label"]["column"] == "tasks"
    assert not [note for note in proposal.notes if "settles" in note]


def test_a_group_that_ties_everything_together_is_left_out(tmp_path: Path) -> None:
    rows = 60
    table = {
        "title": [f"A title of its own {n // 2}" for n in range(rows)],
        "kind": ["abc"[n % 3] for n in range(rows)],
        "parent_id": [(n + 1) // 2 * 5 for n in range(rows)],
    }
    proposal = propose(write_csv(tmp_path / "t.csv", table))
    assert "groups" not in proposal.document["data"]
    assert proposal.verdicts["parent_id"].reason.startswith("would tie 60 rows into one group")


def test_a_reserved_name_keeps_its_column(tmp_path: Path) -> None:
    tasks = _column(tmp_path, "model", ["T", "S", "X", "X"] * 15).document["tasks"]
    assert tasks == {"kind": {"kind": "multiclass"}, "model_label": {"kind": "multiclass", "column": "model"}}


def test_tables_that_give_nothing_to_read_or_to_ask_are_refused_with_each_columns_reason(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", {"id": range(60), "kind": ["a", "b"] * 30})
    with pytest.raises(DataError, match=r"(?s)no picture and no text to read from.*id: id.*kind: binary"):
        propose(path)
    path = write_csv(tmp_path / "b.csv", {"title": [f"A title of its own {n}" for n in range(60)], "same": ["x"] * 60})
    with pytest.raises(DataError, match=r"(?s)no column that asks a question.*same: left out, constant"):
        propose(path)
    with pytest.raises(DataError, match="no such table"):
        propose(tmp_path / "absent.csv")
    (tmp_path / "c.csv").write_text("id,kind\n")
    with pytest.raises(DataError, match="no usable row"):
        propose(tmp_path / "c.csv")


def _photos(tmp_path: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number, (40, 30)).save(path)


_BASE = {"sku": [f"S-{n * 3}" for n in range(40)], "kind": ["ab"[n % 2] for n in range(40)]}


def test_two_pictures_a_row_are_two_modalities(tmp_path: Path) -> None:
    _photos(tmp_path, [f"pics/{sku}_{side}.png" for sku in _BASE["sku"] for side in ("front", "back")])
    modalities = propose(write_csv(tmp_path / "t.csv", _BASE)).document["modalities"]
    assert {name: modality["path"] for name, modality in modalities.items()} == {
        "front": "pics/{sku}_front.png",
        "back": "pics/{sku}_back.png",
    }


def test_folders_named_for_a_column_become_that_column(tmp_path: Path) -> None:
    _photos(tmp_path, [f"pics/{kind}/{sku}.jpg" for sku, kind in zip(*_BASE.values(), strict=True)])
    proposal = propose(write_csv(tmp_path / "t.csv", _BASE))
    assert proposal.document["modalities"]["image"]["path"] == "pics/{kind}/{sku}.jpg"
    assert proposal.verdicts["kind"].shown == "binary"
    assert proposal.verdicts["sku"].shown == "id"


def test_a_column_of_paths_wins_over_a_pattern_and_other_endings_are_told_of(tmp_path: Path) -> None:
    names = [f"pics/{sku}.{'jpg' if n < 30 else 'png'}" for n, sku in enumerate(_BASE["sku"])]
    _photos(tmp_path, names)
    proposal = propose(write_csv(tmp_path / "t.csv", _BASE | {"file": names}))
    assert proposal.document["modalities"]["image"]["path"] == "{file}"
    proposal = propose(write_csv(tmp_path / "t.csv", _BASE))
    assert proposal.document["modalities"]["image"]["path"] == "pics/{sku}.jpg"
    assert any("10 rows have their picture at pics/{sku}.png" in note for note in proposal.notes)


def test_pictures_may_be_packed_without_their_folder_and_be_named_by_hand(tmp_path: Path) -> None:
    _photos(tmp_path, [f"loose/{sku}.jpg" for sku in _BASE["sku"]])
    with zipfile.ZipFile(tmp_path / "shots.zip", "w") as archive:
        for sku in _BASE["sku"]:
            archive.write(tmp_path / "loose" / f"{sku}.jpg", f"{sku}.jpg")
    table = write_csv(tmp_path / "t.csv", _BASE)
    paths = [
        propose(table, tmp_path / chosen).document["modalities"]["image"]["path"] for chosen in ("shots.zip", "loose")
    ]
    assert paths == ["shots/{sku}.jpg", "loose/{sku}.jpg"]


def test_pictures_out_of_reach_or_without_a_column_are_refused_when_asked_for(tmp_path: Path) -> None:
    table = write_csv(
        tmp_path / "data" / "t.csv", _BASE | {"title": [paragraph(random.Random(n), 12) for n in range(40)]}
    )
    _photos(tmp_path, ["far/S-0.jpg", "data/other/unknown.jpg", "data/other/strange.jpg"])
    with pytest.raises(DataError, match=r"must lie in a folder below .*ln -s"):
        propose(table, tmp_path / "far")
    with pytest.raises(DataError, match=r"holds 2 pictures, such as other/strange\.jpg, but no column's values"):
        propose(table, tmp_path / "data" / "other")
    with pytest.raises(DataError, match="no such folder"):
        propose(table, tmp_path / "absent")
    assert any("2 pictures, such as other/strange.jpg" in note for note in propose(table).notes)


def test_pictures_that_whole_classes_share_are_no_input(tmp_path: Path) -> None:
    rows = 200
    _photos(tmp_path, [f"logos/{brand}.png" for brand in "abcd"])
    table = {
        "brand": ["abcd"[n % 4] for n in range(rows)],
        "title": [f"A title of its own {n}" for n in range(rows)],
    }
    proposal = propose(write_csv(tmp_path / "t.csv", table))
    assert list(proposal.document["modalities"]) == ["text"]
