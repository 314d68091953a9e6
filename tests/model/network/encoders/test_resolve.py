"""Looking a backbone up: what follows from it, what stays as the config says, what is said when it cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.config import Config, ConfigError, parse_config
from model.network.encoders import build_encoder, errors, resolve_encoders, timm_library
from tests.support.backbones import named_document, save_text, save_timm, untrained


def resolved(image: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **changes: Any) -> Config:
    return resolve_encoders(parse_config(named_document(image, text, **changes)))


def test_a_config_of_own_encoders_stays_as_it_is() -> None:
    config = parse_config(named_document(None, None))
    assert resolve_encoders(config) == config


def test_the_preprocessing_is_that_of_the_backbone() -> None:
    image = resolved({"encoder": untrained("timm", "test_convnext")}).modalities["image"]
    assert (image.height, image.width) == (160, 160)
    assert (image.mean, image.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    image = resolved({"encoder": untrained("timm", "resnet10t")}).modalities["image"]
    assert (image.height, image.mean) == (176, (0.485, 0.456, 0.406))


def test_what_the_config_gives_stays() -> None:
    given = {"height": 64, "width": 48, "mean": (0.0, 0.0, 0.0), "fit": "crop"}
    image = resolved(given | {"encoder": untrained("timm", "test_convnext")}).modalities["image"]
    assert image.model_dump(include=set(given)) == given
    assert image.std == (0.5, 0.5, 0.5)


def test_preprocessing_from_a_folder_of_transformers(folders: Path) -> None:
    image = resolved({"encoder": {"kind": "transformers", "name": str(folders / "vit")}}).modalities["image"]
    assert (image.height, image.width, image.mean, image.std) == (32, 32, (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))


def test_a_rescaled_preprocessing_is_the_same_arithmetic(tmp_path: Path) -> None:
    from tests.support.backbones import save_vision

    processor = {
        "rescale_factor": 1 / 127.5,
        "image_mean": [1.0] * 3,
        "image_std": [1.0] * 3,
        "size": {"shortest_edge": 32},
    }
    save_vision(tmp_path / "vit", **processor)
    image = resolved({"encoder": {"kind": "transformers", "name": str(tmp_path / "vit")}}).modalities["image"]
    for value in (0, 100, 255):
        theirs = value * processor["rescale_factor"] - 1.0
        assert (value / 255 - image.mean[0]) / image.std[0] == pytest.approx(theirs)


@pytest.mark.parametrize("folder", ["bert", "roberta"])
def test_a_text_brings_its_tokenizer_and_padding(folders: Path, folder: str) -> None:
    text = resolved(text={"encoder": {"kind": "transformers", "name": str(folders / folder)}}).modalities["text"]
    assert (text.tokenizer, text.pad_id) == ("backbone", {"bert": 0, "roberta": 1}[folder])


def test_what_is_recorded_is_not_looked_up_again(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolved({"encoder": {"kind": "timm", "name": str(folders / "convnext")}})
    monkeypatch.setattr(timm_library, "look_up", lambda *_: pytest.fail("looked up again"))
    again = parse_config(config.model_dump(mode="json"))
    assert resolve_encoders(again) == again == config


LOCAL = {"kind": "transformers", "name": "FOLDER"}


@pytest.mark.parametrize(
    ("image", "text", "said"),
    [
        ({"encoder": {"kind": "timm", "name": "convnext_tinny"}}, None, ["no such model", "convnext_tiny"]),
        ({"encoder": {"kind": "timm", "name": "convnext_tiny.nonsense"}}, None, ["no such weights", "fb_in22k"]),
        ({"encoder": {"kind": "timm", "name": "test_vit4.nope"}}, None, ["no trained weights", "pretrained: false"]),
        ({"encoder": untrained("timm", "crossvit_9_240")}, None, ["no feature map"]),
        ({"height": 30, "encoder": untrained("timm", "test_vit")}, None, ["30", "made for 160 × 160"]),
        ({"height": 40, "encoder": {"kind": "transformers", "name": "VIT"}}, None, ["40 × 32", "made for 32 × 32"]),
        ({"encoder": {"kind": "timm", "name": "someone/model"}}, None, ["someone/model", "hub", "name its folder"]),
        (None, {"encoder": {"kind": "transformers", "name": "someone/bert"}}, ["someone/bert", "hub", "its folder"]),
        (None, {"encoder": {"kind": "transformers", "name": "BERT2"}}, ["no such folder", "near it", "bert"]),
        (None, {"encoder": {**untrained("transformers", "bert"), "type": "bertt"}}, ["'bertt'", "near it: bert"]),
        (None, {"encoder": untrained("transformers", "bert") | {"arguments": {"hiden_size": 8}}}, ["hidden_size"]),
        (None, {"encoder": {"kind": "transformers", "name": "BERT", "type": "roberta"}}, ["is a bert, not a roberta"]),
        (None, {"encoder": {"kind": "transformers", "name": "VIT"}}, ["tokenizer", "vit"]),
        ({"encoder": {"kind": "transformers", "name": "BERT"}}, None, ["a bert reads no pictures"]),
        (None, {"max_tokens": 33, "encoder": {"kind": "transformers", "name": "BERT"}}, ["at most 32 tokens, not 33"]),
        ({"encoder": untrained("timm", "test_resnet", freeze=9)}, None, ["freeze", "4 stages, not 9"]),
        ({"encoder": {"kind": "timm", "name": "EMPTY"}}, None, ["the folder holds no model that timm can read"]),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_what_to_do(
    image: dict[str, Any] | None, text: dict[str, Any] | None, said: list[str], folders: Path
) -> None:
    (folders / "empty").mkdir(exist_ok=True)
    places = {"BERT": "bert", "BERT2": "bertt", "VIT": "vit", "EMPTY": "empty"}
    for modality in (image, text):
        if modality and modality["encoder"]["name"] in places:
            name = str(folders / places[modality["encoder"]["name"]])
            modality["encoder"] = modality["encoder"] | {"name": name}
    with pytest.raises(ConfigError) as caught:
        resolved(image, text)
    message = str(caught.value)
    assert message.startswith("modalities.image.encoder: " if image else "modalities.text.encoder: ")
    assert not [part for part in said if part not in message], message


def test_small_pictures_must_be_ones_that_the_backbone_takes() -> None:
    training = {"small_image_epochs": 0.3}
    assert resolved({"encoder": untrained("timm", "test_convnext")}, training=training)
    with pytest.raises(ConfigError, match=r"120 × 120 .*small_image_epochs"):
        resolved({"encoder": untrained("timm", "test_vit")}, training=training)
    dynamic = {
        "height": 128,
        "width": 128,
        "encoder": untrained("timm", "test_vit", arguments={"dynamic_img_size": True}),
    }
    assert resolved(dynamic, training=training)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_library, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"trunkline\[backbones\]"):
        resolved({"encoder": untrained("timm", "test_convnext")})


def test_weights_that_do_not_fit_are_refused(folders: Path, tmp_path: Path) -> None:
    encoder = {"kind": "transformers", "name": str(folders / "bert"), "arguments": {"hidden_size": 32}}
    text = resolved(text={"encoder": encoder}).modalities["text"]
    with pytest.raises(ConfigError, match="bert"):
        build_encoder(text, 150).load_pretrained()
    save_text(tmp_path / "short")
    from safetensors.torch import load_file, save_file

    file = tmp_path / "short" / "model.safetensors"
    save_file(
        {k: v for k, v in load_file(file).items() if "layer.1.output.dense.weight" not in k}, file, {"format": "pt"}
    )
    text = resolved(text={"encoder": {"kind": "transformers", "name": str(tmp_path / "short")}}).modalities["text"]
    with pytest.raises(ConfigError, match=r"lack .*output\.dense\.weight"):
        build_encoder(text, 150).load_pretrained()


def test_weights_that_only_the_hub_has_need_the_hub() -> None:
    image = resolved({"height": 64, "width": 64, "encoder": {"kind": "timm", "name": "resnet10t"}}).modalities["image"]
    with pytest.raises(ConfigError, match=r"resnet10t: .*hub.*name its folder"):
        build_encoder(image).load_pretrained()


def test_near_folders_are_those_beside_it(tmp_path: Path) -> None:
    save_timm(tmp_path / "convnext_small")
    assert "convnext_small" in errors.near_folders(str(tmp_path / "convnext_smal"))
