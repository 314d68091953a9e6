"""The curve that turns a distance into a share of validation inputs, and bundles with it and without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.bundle import BundleError, add_files, load_bundle
from model.familiarity import Curve, fit_curve
from model.predictor import Predictor
from tests.model.making import item_of
from tests.support.familiar import make_familiar_bundle

DISTANCES = st.lists(st.integers(-5000, 5000), min_size=1, max_size=400, unique=True)


@pytest.fixture(scope="module")
def familiar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_familiar_bundle(tmp_path_factory.mktemp("bundles") / "familiar")


@given(DISTANCES, st.integers(-6000, 6000))
def test_a_share_is_that_of_the_inputs_that_are_as_strange(distances: list[int], asked: int) -> None:
    """Never less than the conformal p-value; the same for the strangest 128, up to the step between two of them."""
    curve = fit_curve(np.array(distances, np.float64))
    assert curve is not None
    farther = int((np.array(distances) >= asked).sum())
    count = len(distances)
    told = curve.share(asked)
    assert told >= (1 + farther) / (1 + count) - 1e-4
    assert 0 < told <= 1
    if farther < min(count, 128):
        assert told <= (2 + farther) / (1 + count) + 1e-4


@given(DISTANCES, st.floats(-2e4, 2e4), st.floats(-2e4, 2e4))
def test_the_farther_the_less_familiar(distances: list[int], one: float, other: float) -> None:
    curve = fit_curve(np.array(distances, np.float64))
    assert curve is not None
    near, far = sorted((one, other))
    assert curve.share(near) >= curve.share(far)


def test_shares_of_inputs_like_those_of_validation_are_uniform() -> None:
    generator = np.random.default_rng(0)
    curve = fit_curve(generator.gamma(3.0, 20.0, 5000))
    assert curve is not None
    assert len(curve.distances) < 260, "many are thinned out"
    told = np.array([curve.share(distance) for distance in generator.gamma(3.0, 20.0, 5000)])
    for level in (0.01, 0.05, 0.2, 0.5, 0.9):
        assert (told < level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / 2500))


def test_what_is_no_number_is_stranger_than_anything() -> None:
    curve = fit_curve(np.arange(99.0))
    assert curve is not None
    assert curve.share(float("nan")) == curve.share(float("inf")) == curve.share(98.5) == 0.01
    assert curve.share(-1.0) == 1.0
    assert fit_curve(np.array([])) is None
    assert fit_curve(np.array([np.nan])) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"distances": [], "shares": []},
        {"distances": [2.0, 1.0], "shares": [0.5, 0.1]},
        {"distances": [1.0, 2.0], "shares": [0.1, 0.5]},
        {"distances": [1.0, float("nan")], "shares": [0.5, 0.1]},
        {"distances": [1.0], "shares": [0.5, 0.1]},
    ],
)
def test_a_curve_that_is_none_is_refused(wrong: dict[str, list[float]]) -> None:
    with pytest.raises(ValidationError, match="curve"):
        Curve(count=9, **wrong)


def test_a_bundle_keeps_it(familiar: Path) -> None:
    bundle = load_bundle(familiar)
    assert set(bundle.calibration.familiarity) == {"image", "text"}
    outputs = Predictor(bundle)([item_of(bundle.config, ("image",), np.random.default_rng(0))])
    assert outputs.distance is not None
    assert outputs.distance.shape == (1, 2)
    assert outputs.distance[0, 1] == 0, "a missing input is at no distance"


def test_an_older_bundle_has_none_and_its_file_says_nothing_of_it(tmp_path: Path, familiar: Path) -> None:
    from tests.support.tiny import make_tiny_bundle

    bundle = load_bundle(make_tiny_bundle(tmp_path / "old"))
    assert bundle.calibration.familiarity == {}
    assert "familiarity" not in (tmp_path / "old" / "calibration.json").read_text()
    assert Predictor(bundle)([item_of(bundle.config, ("image",), np.random.default_rng(0))]).distance is None


def test_curves_without_statistics_are_refused_and_so_is_the_reverse(familiar: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(familiar, tmp_path / "copy")
    calibration = json.loads((copy / "calibration.json").read_text())
    curves = calibration.pop("familiarity")
    add_files(copy, {"calibration.json": json.dumps(calibration).encode()})
    with pytest.raises(BundleError, match=r"calibration\.json: its familiarity is not that of the weights"):
        load_bundle(copy)
    add_files(copy, {"calibration.json": json.dumps(calibration | {"familiarity": {"sound": curves["text"]}}).encode()})
    with pytest.raises(BundleError, match="familiarity of 'sound', which is no modality"):
        load_bundle(copy)
