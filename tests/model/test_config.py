"""A wrong config is refused by a message that names the field and what it allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.config import ConfigError, load_config, parse_config
from tests.support.tiny import tiny_document


def changed(path: str, value: Any) -> dict[str, Any]:
    """The tiny document with one value set, created where it is not there."""
    document = tiny_document()
    *parents, last = path.split(".")
    place = document
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return document


def test_the_configs_that_ship_are_valid() -> None:
    files = sorted(Path("configs").glob("*.yaml"))
    assert files
    for file in files:
        assert load_config(file).tasks


def test_defaults_are_filled_in_and_survive_a_round_trip() -> None:
    config = parse_config(tiny_document())
    assert config.training.epochs == 16
    assert parse_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("path", "value", "names"),
    [
        ("network.fusion", "sum", ["network.fusion", "'alpha'", "'concat'", "'gated'", "'cross_attention'", "'sum'"]),
        ("network.width", 4, ["network.width", "8", "given: 4"]),
        ("network.width", 17, ["network", "multiple of heads"]),
        ("network.shared_blocks", 13, ["network.shared_blocks", "12"]),
        ("network.fusoin", "alpha", ["network", "'fusoin'", "fusion"]),
        ("training.epoch", 3, ["training", "'epoch'", "epochs"]),
        ("training.precision", "fp16", ["training.precision", "'auto'", "'fp32'", "'bf16'"]),
        ("training.modality_dropout", 1.5, ["training.modality_dropout", "less than or equal to 1"]),
        ("training.learning_rate", "fast", ["training.learning_rate", "number", "'fast'"]),
        ("modalities.image.kind", "video", ["modalities.image", "'video'", "'image'", "'text'"]),
        ("modalities.image.fit", "squash", ["modalities.image", "fit", "'pad'", "'stretch'", "'crop'"]),
        ("modalities.image.background", [0, 0, 256], ["modalities.image", "background", "255"]),
        ("modalities.image.std", [0.2, 0.2, 0], ["modalities.image", "std", "greater than 0"]),
        ("modalities.image.encoder.depths", [1], ["modalities.image", "encoder", "one entry a stage"]),
        ("modalities.image.encoder.stem_stride", 3, ["stem_stride", "1, 2 or 4"]),
        ("modalities.text.columns", [], ["modalities.text", "columns"]),
        ("modalities.text.encoder.heads", 3, ["modalities.text", "encoder", "multiple of heads"]),
        ("modalities", {}, ["modalities", "at least 1"]),
        ("modalities.top_k", {"kind": "image"}, ["modalities", "'top_k'", "option"]),
        ("modalities.fused", {"kind": "image"}, ["modalities", "'fused'"]),
        ("modalities.a+b", {"kind": "image"}, ["modalities", "'a+b'"]),
        ("tasks", {}, ["tasks", "at least 1"]),
        ("tasks.a,b", {"kind": "binary"}, ["tasks", "'a,b'", "comma"]),
        ("tasks.x", {"kind": "ranking"}, ["tasks.x.kind", "'multiclass'", "'ordinal'"]),
        ("tasks.x", {"kind": "multilabel"}, ["tasks.x", "map or separator"]),
        ("tasks.x", {"kind": "binary", "separator": "|"}, ["tasks.x", "multilabel"]),
        ("tasks.x", {"kind": "binary", "labels": ["a", "b", "c"]}, ["tasks.x", "binary", "2"]),
        ("tasks.x", {"kind": "multiclass", "labels": ["a", "a"]}, ["tasks.x", "differ"]),
        ("tasks.x", {"kind": "ordinal", "labels": ["low", "high"]}, ["tasks.x", "numbers"]),
        ("tasks.x", {"kind": "ordinal", "labels": ["2", "10", "9"]}, ["tasks.x", "ascending"]),
        ("tasks.x", {"kind": "regression", "scale": [1.0, 0.0]}, ["tasks.x.scale", "greater than 0"]),
        ("relation", {"kind": "given"}, ["relation.pairs", "at least one"]),
        ("relation", {"kind": "given", "pairs": [["colour", "size"]]}, ["relation.pairs", "'size'", "audience"]),
        ("relation.kind", "learnt", ["relation.kind", "'label_affinity'", "'gradient_affinity'"]),
        ("hierarchies", [["colour"]], ["hierarchies", "[colour]", "two tasks"]),
        ("hierarchies", [[]], ["hierarchies", "two tasks"]),
        ("hierarchies", [["colour", "size"]], ["hierarchies", "'size'", "colour, audience, sporty"]),
        ("hierarchies", [["colour", "year"]], ["hierarchies", "'year' is ordinal", "multiclass"]),
        ("hierarchies", [["colour", "colour"]], ["hierarchies", "'colour' stands twice", "one place"]),
        ("tasks.colour.parents", {"red": "warm"}, ["tasks.colour.parents", "no hierarchy", "'colour'"]),
        ("data.val_share", 0.9, ["data.val_share", "0.5"]),
        ("name", "../etc", ["name", "letters"]),
        ("version", 1, ["version", "string"]),
    ],
)
def test_names_the_field_and_what_it_allows(path: str, value: Any, names: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(changed(path, value), "shop.yaml")
    message = str(caught.value)
    for part in ["shop.yaml", *names]:
        assert part in message


def with_hierarchy(**parents: str) -> dict[str, Any]:
    """The tiny document with colours below shades, and what is known of the colours."""
    document = tiny_document(hierarchies=[["colour", "shade"]])
    document["tasks"]["shade"] = {"kind": "multiclass", "labels": ["cold", "warm"]}
    document["tasks"]["colour"]["parents"] = parents
    return document


def test_a_hierarchy_survives_a_round_trip() -> None:
    config = parse_config(with_hierarchy(red="warm", blue="cold"))
    assert config.hierarchies == (("colour", "shade"),)
    assert parse_config(config.model_dump(mode="json")) == config


def test_a_document_without_a_hierarchy_is_what_it_was_before_there_were_any() -> None:
    dumped = parse_config(tiny_document()).model_dump(mode="json")
    assert "hierarchies" not in dumped
    assert all("parents" not in task for task in dumped["tasks"].values())


@pytest.mark.parametrize(
    ("parents", "said"),
    [
        ({"pink": "warm"}, "tasks.colour.parents: 'pink' is no label of 'colour'"),
        ({"red": "hot"}, "tasks.colour.parents: 'hot' is no label of 'shade'"),
    ],
)
def test_parents_are_labels_of_the_task_above(parents: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config(with_hierarchy(**parents))


def test_a_task_has_one_place_in_one_hierarchy() -> None:
    document = with_hierarchy()
    document["tasks"]["hue"] = {"kind": "multiclass"}
    document["hierarchies"].append(["hue", "shade"])
    with pytest.raises(ConfigError, match="'shade' stands twice"):
        parse_config(document)


def test_names_every_wrong_field_at_once() -> None:
    document = changed("network.fusion", "sum") | {"training": {"epochs": 0}}
    with pytest.raises(ConfigError, match=r"(?s)network\.fusion.*training\.epochs"):
        parse_config(document)


@pytest.mark.parametrize("document", [None, [], "text", 3])
def test_a_document_that_is_no_mapping(document: Any) -> None:
    with pytest.raises(ConfigError, match="must hold fields"):
        parse_config(document)


@pytest.mark.parametrize(
    "content",
    [b"name: [", b"\xff\xfe\x00bad", b"name: 2024-13-45", b"- &a [*a]\n", b"a: b: c", b"[" * 5000, b"\x00", b""],
    ids=["open list", "not UTF-8", "no date", "in itself", "two colons", "deep", "NUL", "empty"],
)
def test_a_file_that_is_no_yaml_names_the_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_config(file)


def test_a_file_that_is_not_there_names_the_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(path)
