"""From a table and two folders with backbones to a service's answers, which need neither the folders nor torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner, Result

from app.cli import cli
from model.bundle import load_bundle
from model.export import parity
from model.export.bundle_graph import write_graph
from model.golden import check_golden
from model.predictor import Predictor
from tests.app.test_without_torch import SERVE, python
from tests.model.training.shapes import document, make_shapes, write_config
from tests.support.backbones import byte_pairs, save_text, save_timm


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def named(image: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    config = document(epochs=1, batch_size=16)
    # Tracing takes time by the node.
    config["tasks"] = {name: config["tasks"][name] for name in ("colour", "year")}
    config["network"] |= {"shared_blocks": 0, "trunk_layers": 0}
    config["modalities"]["image"] = {"kind": "image", "height": 32, "width": 32, "encoder": image}
    config["modalities"]["text"] = {"kind": "text", "columns": ["title"], "max_tokens": 10, "encoder": text}
    return config


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def test_a_bundle_of_named_backbones_is_trained_and_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_timm(tmp_path / "net" / "convnext")
    save_text(tmp_path / "net" / "roberta", "roberta", byte_pairs())
    image = {"kind": "timm", "name": str(tmp_path / "net" / "convnext"), "layer_decay": 0.7, "freeze": 1}
    text = {"kind": "transformers", "name": str(tmp_path / "net" / "roberta"), "freeze": "all"}
    data, out = make_shapes(tmp_path / "data", train=32, val=24, test=8), tmp_path / "out" / "named"
    config = write_config(tmp_path / "named.yaml", named(image, text))
    options = ["--data", data, "--out", out, "--cache", tmp_path / "cache", "--threads", 1, "--device", "cpu"]
    result = run("train", config, *options)
    assert result.exit_code == 0, result.output
    pretrained = load_file(tmp_path / "net" / "roberta" / "model.safetensors")
    # What is frozen is what was in the folder; from here on, nothing of the folders is there.
    shutil.rmtree(tmp_path / "net")
    bundle = load_bundle(out)
    for name, values in pretrained.items():
        if "pooler" not in name:
            assert (bundle.weights[f"encoders.1.backbone.{name}"] == values).all(), name
    # Compared with torch at batches of 1, 2 and 3, in every pattern and with mixed ones.
    monkeypatch.setattr(parity, "BATCH_SIZES", (1, 2, 3))
    bundle, reached = write_graph(bundle)
    assert reached.difference <= 1e-4
    check_golden(bundle, Predictor(bundle))
    done = python(SERVE, out)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["ready"] == 200
    assert said["loaded"] == []
    assert set(said["answer"]["predictions"]) == set(bundle.config.tasks)


def test_a_backbone_that_cannot_be_had_ends_the_run_before_it_reads_a_picture(tmp_path: Path) -> None:
    config = write_config(tmp_path / "named.yaml", named({"kind": "timm", "name": "convnext_tinny"}, {"kind": "bert"}))
    result = run("train", config, "--data", tmp_path / "nowhere", "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 2
    assert "modalities.image.encoder: convnext_tinny: timm has no such model; near it: convnext_tiny" in result.output
