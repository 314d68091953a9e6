"""What is counted from the config is what the network does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.device.forward import arithmetic
from model.bundle import load_bundle
from model.cost import item_tokens
from model.network.encoders import resolve_encoders
from tests.support.backbones import named_document, untrained
from tests.support.tiny import make_tiny_bundle, tiny_config, tiny_document

WIDE = {"kind": "conv", "widths": [16, 32, 64], "depths": [2, 1, 3], "stem_stride": 4}


def document(height: int, encoder: dict[str, Any], blocks: int) -> dict[str, Any]:
    changed = tiny_document()
    changed["modalities"]["image"] |= {"height": height, "width": 90, "encoder": encoder}
    changed["network"] |= {"shared_blocks": blocks, "width": 32}
    return changed


@pytest.mark.parametrize(("height", "blocks"), [(37, 0), (100, 2)])
def test_it_is_near_what_the_network_is_counted_to_do(height: int, blocks: int, tmp_path: Path) -> None:
    config = tiny_config(**document(height, WIDE, blocks))
    counted = arithmetic(load_bundle(make_tiny_bundle(tmp_path / "tiny", config=config)))
    assert item_tokens(config) == pytest.approx(counted["item"] / counted["token"], rel=0.15)


def test_without_a_picture_little_is_left_and_without_a_text_nothing_to_weigh() -> None:
    whole = tiny_document()
    image = whole["modalities"].pop("image")
    assert 0 < item_tokens(tiny_config(modalities=whole["modalities"])) < 4
    assert item_tokens(tiny_config(modalities={"image": image})) == 0.0


@pytest.mark.parametrize("shape", [("timm", "test_vit"), ("transformers", "convnext")])
def test_what_is_recorded_of_backbones_is_what_they_do(shape: tuple[str, str], tmp_path: Path) -> None:
    document = named_document(
        {"height": 64, "width": 64, "encoder": untrained(*shape)},
        {"encoder": untrained("transformers", "bert")},
    )
    config = resolve_encoders(tiny_config(**document))
    counted = arithmetic(load_bundle(make_tiny_bundle(tmp_path / "named", config=config)))
    assert item_tokens(config) == pytest.approx(counted["item"] / counted["token"], rel=0.15)
