"""`trunkline calibrate`: the same network, calibrated anew, and made to agree where it is told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from app.cli import cli
from model.bundle import add_files, load_bundle
from model.bundle_files import HISTORY
from model.config import parse_config
from model.golden import check_golden
from model.history import Epoch, to_json
from model.predictor import Predictor
from tests.model.training.shapes import document
from tests.support.tiny import make_tiny_bundle

EPOCHS = [Epoch(epoch=1, loss=0.5, score=0.4, minutes=1.5, validation={"image": {"colour": 0.5}})]


def calibrate(bundle: Path, data: Path, cache: Path, out: Path, *more: str) -> Result:
    options = {"--data": data, "--cache": cache, "--out": out, "--threads": 1, "--device": "cpu"}
    return CliRunner().invoke(
        cli, ["calibrate", str(bundle), *(str(part) for pair in options.items() for part in pair), *more]
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for the made data set that has learnt nothing, and was never calibrated."""
    config: dict[str, Any] = document()
    labels = {
        "shape": ["bar", "disc"],
        "colour": ["blue", "green", "red"],
        "tags": ["big", "blue", "green", "red"],
        "round": ["no", "yes"],
        "year": ["2013", "2014", "2015"],
    }
    for name, known in labels.items():
        config["tasks"][name]["labels"] = known
    config["tasks"]["size"]["scale"] = [6.0, 1.2]
    path = make_tiny_bundle(tmp_path_factory.mktemp("weights") / "shapes", config=parse_config(config))
    add_files(path, {HISTORY: to_json(EPOCHS)})
    return path


def test_the_network_stays_and_the_answers_agree_from_then_on(
    bundle: Path, shapes: Path, cache: Path, tmp_path: Path, graphs: list[Path]
) -> None:
    before, content = load_bundle(bundle), (bundle / "bundle.yaml").read_bytes()
    out = tmp_path / "agreeing"
    result = calibrate(bundle, shapes, cache, out, "--hierarchy", "colour, shape")
    assert result.exit_code == 0, result.output
    after = load_bundle(out)
    assert (bundle / "bundle.yaml").read_bytes() == content
    for name, values in before.weights.items():
        assert np.array_equal(after.weights[name], values), name
    assert {name for name in after.weights if name not in before.weights} == {
        f"familiarity.inputs.{place}.{part}"
        for place in (0, 1)
        for part in ("center", "basis", "groups", "half_norms", "weights")
    }
    assert set(after.calibration.familiarity) == {"image", "text"}
    assert after.config.hierarchies == (("colour", "shape"),)
    assert set(after.config.tasks["colour"].parents) == {"blue", "green", "red"}
    assert "against the hierarchy" in result.output, "colours come in both shapes here"
    without = after.config.model_copy(update={"hierarchies": (), "tasks": before.config.tasks})
    assert without == before.config, "labels and all else are the same"
    assert after.calibration != before.calibration
    assert after.calibration.priors["colour"] != before.calibration.priors["colour"]
    assert after.calibration.priors.keys() == after.config.tasks.keys()
    assert sum(after.calibration.priors["colour"]) == pytest.approx(1)
    assert after.history == before.history == EPOCHS
    assert after.provenance["seed"] == before.provenance["seed"]
    assert after.provenance["calibrated"]["rows"] == 80
    check_golden(after, Predictor(after))
    assert out in graphs

    again = tmp_path / "again"
    assert calibrate(out, shapes, cache, again).exit_code == 0
    assert load_bundle(again).config == after.config, "a bundle keeps its hierarchies"
    for name, curve in load_bundle(again).calibration.familiarity.items():
        fitted = after.calibration.familiarity[name]
        assert curve.distances == pytest.approx(fitted.distances, rel=1e-3, abs=1e-2), "not to what was fitted before"


@pytest.mark.parametrize(
    ("out", "hierarchy", "said"),
    [
        ("new", "colour,size", "'size' is regression"),
        ("new", "colour,weight", "no task 'weight'"),
        ("same", "colour,shape", "other than that of"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    bundle: Path, shapes: Path, cache: Path, tmp_path: Path, out: str, hierarchy: str, said: str
) -> None:
    place = bundle if out == "same" else tmp_path / out
    content = (bundle / "bundle.yaml").read_bytes()
    result = calibrate(bundle, shapes, cache, place, "--hierarchy", hierarchy)
    assert result.exit_code == 2
    assert said in result.output
    assert (bundle / "bundle.yaml").read_bytes() == content
    assert not (tmp_path / "new").exists()
