"""Calibration: known temperatures are found, the better member gets the weight, thresholds are looked up safely."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.calibration import (
    COVERAGES,
    Calibration,
    check_complete,
    fit_beta,
    fit_thresholds,
    pattern_key,
    patterns_of,
    uncalibrated,
)
from model.config import Config
from model.conformal import prediction_set
from model.inference import PatternOutputs
from model.network.multi_model import temper
from model.setups import Setup, measure_setups
from model.training.calibrate import blend, blend_all, fit_calibration, fit_priors
from tests.support.hierarchy import CHAIN, LABELS, PARENTS, contradictions, shop_config
from tests.support.tiny import tiny_config

CONFIG = tiny_config()
BOTH = ("image", "text")


def drawn(task: str, count: int, sharpness: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from logits, and the logits times `sharpness`: what a model that is too sure would say."""
    generator = np.random.default_rng(seed)
    kind = CONFIG.tasks[task].kind
    size = {"multiclass": 3, "multilabel": 3, "ordinal": 3}.get(kind, 1)
    logits = generator.normal(0, 1.5, (count, size)).astype(np.float32)
    if kind == "multiclass":
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        targets = (p.cumsum(1) < generator.random((count, 1))).sum(1)
    elif kind == "ordinal":
        above = generator.random((count, size)) < 1 / (1 + np.exp(-logits))
        targets = np.where(above.all(1), size, (~above).argmax(1))
    else:
        hit = generator.random((count, size)) < 1 / (1 + np.exp(-logits))
        targets = hit.astype(np.float32) if kind == "multilabel" else hit[:, 0].astype(np.int64)
    return logits * sharpness, targets


def fitted(task: str, raw: dict[str, np.ndarray], targets: np.ndarray) -> Calibration:
    config = tiny_config(tasks={task: CONFIG.tasks[task].model_dump()})
    output = PatternOutputs(np.arange(len(targets)), {member: {task: values} for member, values in raw.items()})
    return fit_calibration(config, {BOTH: output}, {task: targets})


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("task", ["colour", "year", "sporty", "audience"])
def test_a_known_temperature_is_found(task: str, sharpness: float) -> None:
    raw, targets = drawn(task, 3000, sharpness, 1)
    noise = np.random.default_rng(2).normal(size=raw.shape).astype(np.float32)
    entry = fitted(task, {"fused": raw, "image": noise, "text": noise}, targets).patterns["image+text"][task]
    assert entry.temperatures["fused"] == pytest.approx(sharpness, rel=0.15)
    assert entry.temperatures["image"] > 3, "what is noise should be said without confidence"
    assert entry.beta["fused"] > 0.9


def test_calibrated_answers_are_as_sure_as_they_are_right() -> None:
    raw, targets = drawn("colour", 4000, 3.0, 3)
    task = CONFIG.tasks["colour"]
    members = {"fused": raw, "image": raw, "text": raw}
    entry = fitted("colour", members, targets).patterns["image+text"]["colour"]
    answers = blend(task, entry, members)
    confidence, right = answers.max(1).mean(), (answers.argmax(1) == targets).mean()
    assert confidence == pytest.approx(right, abs=0.03)


def test_a_mix_of_members_is_as_sure_as_it_is_right() -> None:
    """Members that err independently: each tempered for itself, their mix is less sure than it is right."""
    clean, targets = drawn("colour", 4000, 2.0, 6)
    generator = np.random.default_rng(7)
    members = {
        name: clean + generator.normal(0, 2.5, clean.shape).astype(np.float32) for name in ("fused", "image", "text")
    }
    entry = fitted("colour", members, targets).patterns["image+text"]["colour"]
    alone = {m: fitted("colour", {m: raw}, targets).patterns["image+text"]["colour"] for m, raw in members.items()}
    task = CONFIG.tasks["colour"]
    together = blend(task, entry, members)
    one_by_one = sum(entry.beta[m] * blend(task, alone[m], {m: raw}) for m, raw in members.items())
    gaps = [(answers.argmax(1) == targets).mean() - answers.max(1).mean() for answers in (together, one_by_one)]
    assert abs(gaps[0]) < 0.015
    assert gaps[1] > 0.03
    assert sum(entry.beta.values()) == pytest.approx(1, abs=1e-5)


def test_answers_that_hesitate_get_a_temperature_of_their_own() -> None:
    """No single temperature makes answers right that are sure enough where they are sure, and too sure elsewhere."""
    generator = np.random.default_rng(8)
    raw = generator.normal(0, 2, (6000, 3)).astype(np.float32)
    truth = temper(torch.softmax(torch.from_numpy(raw), 1), -0.4, 1.2).numpy()
    targets = (truth.cumsum(1) < generator.random((6000, 1))).sum(1)
    task, members = CONFIG.tasks["colour"], {"fused": raw, "image": np.zeros_like(raw), "text": np.zeros_like(raw)}
    entry = fitted("colour", members, targets).patterns["image+text"]["colour"]
    off = np.abs(blend(task, entry, members) - truth).mean()
    one = entry.model_copy(update={"mix_temperature": (0.0, 0.0), "beta": {"fused": 1.0, "image": 0.0, "text": 0.0}})
    ones = [one.model_copy(update={"temperatures": dict.fromkeys(members, t)}) for t in np.geomspace(0.3, 3, 30)]
    assert off < 0.01 < 2 * off < min(np.abs(blend(task, each, members) - truth).mean() for each in ones)


def test_the_best_mix_of_values_is_found_for_regression() -> None:
    generator = np.random.default_rng(4)
    targets = generator.normal(20, 5, 500)
    scaled = ((targets - 20) / 5)[:, None]
    # Two members with independent errors: their mean is better than either.
    raw = {
        name: (scaled + generator.normal(0, spread, scaled.shape)).astype(np.float32)
        for name, spread in (("fused", 0.5), ("image", 0.5), ("text", 3.0))
    }
    entry = fitted("price", raw, targets.astype(np.float32)).patterns["image+text"]["price"]
    assert entry.beta["fused"] == pytest.approx(0.5, abs=0.15)
    assert entry.beta["image"] == pytest.approx(0.5, abs=0.15)
    assert sum(entry.beta.values()) == pytest.approx(1, abs=1e-5)
    assert entry.temperatures == dict.fromkeys(raw, 1.0)


def test_too_few_labels_keep_the_fused_network_alone() -> None:
    raw, targets = drawn("colour", 100, 3.0, 5)
    targets[40:] = -1
    entry = fitted("colour", {"fused": raw, "image": raw, "text": raw}, targets).patterns["image+text"]["colour"]
    assert entry == uncalibrated(CONFIG).patterns["image+text"]["colour"]


def test_beta_picks_the_better_member() -> None:
    generator = np.random.default_rng(0)
    beta = fit_beta({"good": generator.uniform(0.7, 1, 500), "bad": generator.uniform(0, 0.3, 500)})
    assert beta == {"good": 1.0, "bad": 0.0}


def test_beta_mixes_members_that_know_different_things() -> None:
    one = np.tile([0.9, 0.1], 250)
    beta = fit_beta({"one": one, "other": one[::-1]})
    assert beta["one"] == pytest.approx(0.5, abs=0.01)


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=20))
def test_beta_is_a_convex_mix_and_no_member_alone_is_likelier(rows: list[list[float]]) -> None:
    p = np.array(rows)
    beta = fit_beta({name: p[:, m] for m, name in enumerate("abc")})
    weights = np.array(list(beta.values()))
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    seen = np.clip(p, 1e-12, None)
    mixed = np.log(seen @ weights).mean()
    # Small weights are cut to zero, which costs this much at most where the cut member was the only one to know.
    assert mixed >= max(np.log(seen[:, m]).mean() for m in range(3)) - 0.05 or (p < 1e-3).any()


def test_thresholds_are_those_of_the_next_higher_coverage_that_is_stored() -> None:
    calibration = uncalibrated(CONFIG)
    calibration.patterns["image+text"]["colour"].thresholds = [*COVERAGES[:-1], None]
    assert calibration.threshold("colour", BOTH, 0.9) == 0.9
    assert calibration.threshold("colour", BOTH, 0.901) == 0.91
    assert calibration.threshold("colour", BOTH, 0.1) == 0.5
    assert calibration.threshold("colour", BOTH, 0.999) == float("inf")
    assert calibration.threshold("colour", BOTH, 0.9999) == float("inf")
    assert calibration.threshold("colour", ("image",), 0.9) is None, "not calibrated"


def test_fitted_thresholds_fit_the_grid_and_the_kind() -> None:
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(3), 60)
    found = fit_thresholds(CONFIG.tasks["colour"], p, generator.integers(0, 3, 60))
    assert len(found) == len(COVERAGES)
    known = [value for value in found if value is not None]
    assert known == sorted(known)
    assert found[-1] is None, "60 samples cannot vouch for 99.9 %"
    assert fit_thresholds(CONFIG.tasks["audience"], p, p) == []
    assert fit_thresholds(CONFIG.tasks["colour"], p[:0], np.zeros(0)) == []


def test_patterns_and_their_keys() -> None:
    assert patterns_of(CONFIG) == [("image", "text"), ("image",), ("text",)]
    assert [pattern_key(p) for p in patterns_of(CONFIG)] == ["image+text", "image", "text"]
    assert uncalibrated(CONFIG).beta("colour", ("text",)) == {"fused": 1.0, "text": 0.0}


def broken(config: Config, what: str) -> Calibration:
    calibration = uncalibrated(config)
    entry = calibration.patterns["image"]["colour"]
    match what:
        case "pattern":
            del calibration.patterns["image"]
        case "task":
            del calibration.patterns["image"]["colour"]
        case "members":
            entry.beta["text"] = 0.0
        case "temperature":
            entry.temperatures["fused"] = 0.0
        case "not a temperature":
            entry.temperatures["fused"] = float("nan")
        case "negative":
            entry.beta |= {"fused": 1.5, "image": -0.5}
        case "sum":
            entry.beta["image"] = 0.5
        case "not a number":
            entry.beta["image"] = float("nan")
        case "mix":
            entry.mix_temperature = (0.0, float("inf"))
        case "mix of a kind without classes":
            calibration.patterns["image"]["price"].mix_temperature = (0.1, 0.0)
        case "thresholds":
            entry.thresholds = [0.1]
    return calibration


@pytest.mark.parametrize(
    "what",
    [
        "pattern",
        "task",
        "members",
        "temperature",
        "not a temperature",
        "negative",
        "sum",
        "not a number",
        "mix",
        "mix of a kind without classes",
        "thresholds",
    ],
)
def test_an_incomplete_calibration_is_refused(what: str) -> None:
    check_complete(uncalibrated(CONFIG), CONFIG)
    with pytest.raises(ValueError, match=r"'(image|colour|price)'"):
        check_complete(broken(CONFIG, what), CONFIG)


def articles(count: int, seed: int) -> tuple[PatternOutputs, dict[str, np.ndarray]]:
    """A network that is right about most articles and says each level by itself, and what the articles are."""
    generator = np.random.default_rng(seed)
    article = generator.integers(0, len(LABELS["article"]), count)
    kinds = [LABELS["kind"].index(PARENTS["article"][label]) for label in LABELS["article"]]
    sections = [LABELS["section"].index(PARENTS["kind"][label]) for label in LABELS["kind"]]
    labels = {"article": article, "kind": np.array(kinds)[article]}
    labels["section"] = np.array(sections)[labels["kind"]]
    raw = {}
    for name, task in shop_config().tasks.items():
        size = len(task.labels) - (task.kind == "ordinal")
        raw[name] = generator.normal(0, 1.5, (count, size)).astype(np.float32)
        if name in labels:
            raw[name][np.arange(count), labels[name]] += 2.5
    others = {"colour": np.full(count, -1), "year": np.full(count, -1)}
    return PatternOutputs(np.arange(count), {"fused": raw, "image": raw, "text": raw}), labels | others


def test_sets_of_a_hierarchy_hold_the_truth_as_often_as_asked() -> None:
    """The thresholds are of the answers that are served, not of those that the network gives to each task by itself."""
    config = shop_config()
    output, labels = articles(4000, 7)
    calibration = fit_calibration(config, {BOTH: output}, labels)
    fresh, truth = articles(4000, 8)
    answers = blend_all(config, calibration.patterns["image+text"], fresh)
    for name in CHAIN:
        for coverage in (0.6, 0.75, 0.9):
            threshold = calibration.threshold(name, BOTH, coverage)
            assert threshold is not None
            sets = [prediction_set(p, threshold) for p in answers[name]]
            held = np.mean([y in chosen for y, chosen in zip(truth[name], sets, strict=True)])
            # No set is empty, so the answers themselves are a least.
            least = (answers[name].argmax(axis=1) == truth[name]).mean()
            assert coverage - 0.03 <= held <= max(coverage, least) + 0.03


def test_what_is_measured_is_what_is_served() -> None:
    """Metrics of a network that contradicts itself are those of answers that do not."""
    config = shop_config()
    output, labels = articles(500, 9)
    calibration = fit_calibration(config, {BOTH: output}, labels)
    entries = calibration.patterns["image+text"]
    answers = blend_all(config, entries, output)
    raw = {name: {member: tasks[name] for member, tasks in output.raw.items()} for name in CHAIN}
    alone = {name: blend(config.tasks[name], entries[name], raw[name]) for name in CHAIN}

    def told(of: dict[str, np.ndarray], row: int) -> dict[str, str]:
        return {name: config.tasks[name].labels[int(of[name][row].argmax())] for name in CHAIN}

    assert any(contradictions(config, told(alone, row)) for row in range(500))
    assert not any(contradictions(config, told(answers, row)) for row in range(500))
    measured = measure_setups(config, calibration, {"both": Setup(BOTH, output)}, labels)["both"]
    for name in CHAIN:
        assert measured[name]["accuracy"] == pytest.approx((answers[name].argmax(axis=1) == labels[name]).mean())


def test_priors_are_what_the_labelled_training_rows_say() -> None:
    labels = {
        "colour": np.array([2, 0, 2, -1, 2]),
        "audience": np.array([[1, 1, 0], [0, 1, 0], [np.nan] * 3, [0, 1, 1], [1, 1, 0]], np.float32),
        "sporty": np.array([1, 0, 0, 0, -1]),
        "price": np.array([10, np.nan, 20, 30, 40], np.float32),
        "year": np.full(5, -1),
    }
    assert fit_priors(CONFIG, labels) == {
        "colour": [0.25, 0.0, 0.75],
        "audience": [0.5, 1.0, 0.25],
        "sporty": [0.25],
        "price": [25.0],
    }


def test_a_calibration_without_priors_is_written_as_before() -> None:
    plain = uncalibrated(CONFIG)
    assert "priors" not in plain.model_dump_json()
    some = plain.model_copy(update={"priors": {"sporty": [0.25]}})
    assert Calibration.model_validate_json(some.model_dump_json()).priors == {"sporty": [0.25]}


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        ({"size": [0.5, 0.5]}, "no task"),
        ({"colour": [0.5, 0.5]}, "3 finite numbers"),
        ({"sporty": [0.5, 0.5]}, "1 finite numbers"),
        ({"price": [float("nan")]}, "1 finite numbers"),
    ],
)
def test_priors_that_do_not_fit_the_tasks_are_refused(prior: dict[str, list[float]], said: str) -> None:
    check_complete(uncalibrated(CONFIG).model_copy(update={"priors": {"colour": [0.5, 0.5, 0.0]}}), CONFIG)
    with pytest.raises(ValueError, match=said):
        check_complete(uncalibrated(CONFIG).model_copy(update={"priors": prior}), CONFIG)
