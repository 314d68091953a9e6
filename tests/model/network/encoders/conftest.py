"""Folders with backbones in them, made once; and no way to the hub."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest

from tests.support import backbones


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own switch, which it reads from the environment when it is imported."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbones")
    backbones.save_timm(folder / "convnext")
    backbones.save_text(folder / "bert")
    backbones.save_text(folder / "roberta", "roberta", backbones.byte_pairs())
    backbones.save_vision(
        folder / "vit", image_mean=[0.1, 0.2, 0.3], image_std=[0.5] * 3, size={"height": 32, "width": 32}
    )
    return folder
