"""Conformal prediction: the coverage that was asked for, on data it was not fitted on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.conformal import prediction_interval, prediction_set, quantile, scores

CLASSES = 6


def exchangeable(count: int, seed: int, ordinal: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [n, C] of an overconfident model, and answers drawn from the true ones."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (count, CLASSES))
    if ordinal:
        centre = generator.uniform(0, CLASSES - 1, count)
        logits = -np.abs(np.arange(CLASSES) - centre[:, None]) + generator.normal(0, 0.3, (count, CLASSES))
    truth = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = (truth.cumsum(1) < generator.random((count, 1))).sum(1)
    claimed = np.exp(2 * logits)
    return claimed / claimed.sum(1, keepdims=True), targets


@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.9, 0.95])
def test_sets_cover(coverage: float) -> None:
    fitted, targets = exchangeable(3000, 1)
    threshold = quantile(scores("multiclass", fitted, targets), coverage)
    unseen, truth = exchangeable(3000, 2)
    hits = np.mean([t in prediction_set(p, threshold) for p, t in zip(unseen, truth, strict=True)])
    # Two samples of 3,000: four standard deviations of the difference are 0.05 at most.
    assert hits == pytest.approx(coverage, abs=0.05)
    plain = np.mean([t in prediction_set(p, coverage) for p, t in zip(unseen, truth, strict=True)])
    assert abs(hits - coverage) < abs(plain - coverage) or abs(plain - coverage) < 0.02


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_intervals_cover(coverage: float) -> None:
    fitted, targets = exchangeable(3000, 3, ordinal=True)
    threshold = quantile(scores("ordinal", fitted, targets), coverage)
    unseen, truth = exchangeable(3000, 4, ordinal=True)
    intervals = [prediction_interval(p, threshold) for p in unseen]
    hits = np.mean([low <= t <= high for (low, high), t in zip(intervals, truth, strict=True)])
    assert coverage - 0.05 <= hits <= coverage + 0.12, "whole classes come in, so somewhat more than asked for"
    assert np.mean([high - low + 1 for low, high in intervals]) < CLASSES - 0.5, "and not by naming every class"


def test_regression_covers() -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(20, 5, (4000, 1))
    targets = values[:, 0] + generator.normal(0, 2, 4000)
    threshold = quantile(scores("regression", values[:2000], targets[:2000]), 0.9)
    assert np.mean(np.abs(values[2000:, 0] - targets[2000:]) <= threshold) == pytest.approx(0.9, abs=0.03)
    assert threshold == pytest.approx(1.645 * 2, abs=0.3)


probabilities = (
    st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8)
    .filter(lambda p: sum(p) > 0.01)
    .map(lambda p: np.array(p) / sum(p))
)
thresholds = st.one_of(st.floats(0, 1), st.just(float("inf")))


@given(probabilities, thresholds)
def test_sets_are_never_empty_and_hold_the_likeliest(p: np.ndarray, threshold: float) -> None:
    chosen = prediction_set(p, threshold)
    assert chosen[0] == int(np.argmax(p))
    assert len(set(chosen)) == len(chosen)
    assert list(p[chosen]) == sorted(p[chosen], reverse=True)
    assert prediction_set(p, float("inf")) == [int(c) for c in np.argsort(-p, kind="stable")]


@given(probabilities, thresholds, thresholds)
def test_sets_and_intervals_are_nested(p: np.ndarray, one: float, two: float) -> None:
    less, more = sorted((one, two))
    assert set(prediction_set(p, less)) <= set(prediction_set(p, more))
    low, high = prediction_interval(p, less)
    wide_low, wide_high = prediction_interval(p, more)
    assert 0 <= wide_low <= low <= int(np.argmax(p)) <= high <= wide_high < len(p)
    assert prediction_interval(p, float("inf")) == (0, len(p) - 1)


@given(probabilities, thresholds)
def test_a_class_is_in_the_interval_exactly_when_its_score_is_within(p: np.ndarray, threshold: float) -> None:
    low, high = prediction_interval(p, threshold)
    values = scores("ordinal", np.repeat(p[None], len(p), axis=0), np.arange(len(p)))
    assert [low <= c <= high for c in range(len(p))] == [bool(v <= threshold + 1e-9) for v in values]


def test_interval_by_hand() -> None:
    p = np.array([0.05, 0.2, 0.5, 0.15, 0.1])
    assert scores("ordinal", np.repeat(p[None], 5, axis=0), np.arange(5)) == pytest.approx([0.95, 0.5, 0.0, 0.7, 0.85])
    assert prediction_interval(p, 0.4) == (2, 2)
    assert prediction_interval(p, 0.6) == (1, 2)
    assert prediction_interval(p, 0.8) == (1, 3)


@settings(deadline=1000)
@given(st.lists(st.sampled_from([0.1, 0.5, float("nan")]), min_size=1, max_size=6))
def test_a_network_that_answers_nan_does_not_hang_the_service(values: list[float]) -> None:
    low, high = prediction_interval(np.array(values), 0.9)
    assert 0 <= low <= high < len(values)
    assert prediction_set(np.array(values), 0.9)


def test_quantile_is_corrected_for_the_finite_sample() -> None:
    values = np.arange(1, 10) / 10  # nine scores: the k-th covers k / 10
    assert quantile(values, 0.9) == pytest.approx(0.9)
    assert quantile(values, 0.5) == pytest.approx(0.5)
    assert quantile(values, 0.91) == float("inf")
    assert quantile(np.array([]), 0.5) == float("inf")


def test_kinds_without_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="multilabel"):
        scores("multilabel", np.zeros((1, 2)), np.zeros(1))
