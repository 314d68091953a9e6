"""Answers to a chain of tasks agree, whatever the network made of each, and stay as meaningful as they were."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import Config
from model.hierarchy import Hierarchies
from tests.support.hierarchy import CHAIN, LABELS, PARENTS, contradictions, drawn_answers, forests, shop_config
from tests.support.tiny import tiny_config

SEEDS = st.integers(0, 2**32 - 1)


def top(config: Config, answers: dict[str, np.ndarray], row: int) -> dict[str, str]:
    return {name: config.tasks[name].labels[int(p[row].argmax())] for name, p in answers.items()}


def answered(article: list[float], kind: list[float], section: list[float]) -> dict[str, list[float]]:
    """What becomes of three answers, rounded."""
    rows = {name: np.array([p], np.float32) for name, p in zip(CHAIN, (article, kind, section), strict=True)}
    result = Hierarchies(shop_config()).consistent(rows)
    return {name: [round(float(x), 4) for x in result[name][0]] for name in CHAIN}


@given(forests(), SEEDS)
def test_answers_never_contradict_one_another(config: Config, seed: int) -> None:
    given_answers = drawn_answers(config, 12, seed)
    answers = Hierarchies(config).consistent(given_answers)
    for row in range(12):
        assert not contradictions(config, top(config, answers, row))
    for name, values in answers.items():
        assert values.dtype == np.float32
        assert values.shape == given_answers[name].shape
        assert (values >= 0).all()
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-5)


@given(forests(), SEEDS)
def test_no_class_is_likelier_than_the_one_above_it(config: Config, seed: int) -> None:
    answers = Hierarchies(config).consistent(drawn_answers(config, 12, seed))
    for chain in config.hierarchies:
        for name, above in pairwise(chain):
            upper = config.tasks[above].labels
            for c, label in enumerate(config.tasks[name].labels):
                parent = config.tasks[name].parents.get(label)
                if parent is None:
                    assert (answers[name][:, c] == 0).all(), "a class without a place is never answered"
                else:
                    assert (answers[name][:, c] <= answers[above][:, upper.index(parent)] + 1e-6).all()


@given(forests(), SEEDS, st.data())
def test_what_is_asked_besides_changes_nothing(config: Config, seed: int, data: st.DataObject) -> None:
    hierarchies = Hierarchies(config)
    answers = drawn_answers(config, 5, seed)
    whole = hierarchies.consistent(answers)
    asked = data.draw(st.sets(st.sampled_from(list(config.tasks)), min_size=1))
    needed = hierarchies.needed(asked)
    assert asked <= set(needed)
    assert list(needed) == [name for name in config.tasks if name in needed]
    part = hierarchies.consistent({name: answers[name] for name in needed})
    for name in asked:
        np.testing.assert_array_equal(part[name], whole[name])


@given(forests(), SEEDS)
def test_a_row_is_answered_alike_in_any_batch(config: Config, seed: int) -> None:
    hierarchies = Hierarchies(config)
    answers = drawn_answers(config, 6, seed)
    whole = hierarchies.consistent(answers)
    for row in range(6):
        alone = hierarchies.consistent({name: values[row : row + 1] for name, values in answers.items()})
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], whole[name][row], atol=1e-6)


@given(SEEDS)
def test_the_answers_of_one_distribution_over_paths_stay_as_they_are(seed: int) -> None:
    """Where the tasks agree in everything, there is nothing to settle."""
    config = shop_config()
    article = np.random.default_rng(seed).dirichlet(np.full(5, 0.2), 20).astype(np.float32)
    kind, section = np.zeros((20, 4), np.float32), np.zeros((20, 2), np.float32)
    for c, label in enumerate(LABELS["article"]):
        k = LABELS["kind"].index(PARENTS["article"][label])
        kind[:, k] += article[:, c]
        section[:, LABELS["section"].index(PARENTS["kind"][LABELS["kind"][k]])] += article[:, c]
    given_answers = {"article": article, "kind": kind, "section": section}
    agreed = [not contradictions(config, top(config, given_answers, row)) for row in range(20)]
    for name, values in Hierarchies(config).consistent(given_answers).items():
        np.testing.assert_allclose(values[agreed], given_answers[name][agreed], atol=1e-5)


def test_each_task_is_believed_as_much_as_the_others() -> None:
    """Shirt .9 by the article's own head; .5 by that of the kind, and by that of the section: .6333 in the mean."""
    answers = answered([0, 0, 0, 0.9, 0.1], [0, 0, 0.5, 0.5], [0.5, 0.5])
    assert answers["article"] == [0, 0, 0, 0.6333, 0.3667]
    assert answers["kind"] == [0, 0, 0.6333, 0.3667]
    assert answers["section"] == [0.3667, 0.6333]


def test_the_path_that_is_said_is_right_most_often_over_the_tasks() -> None:
    """The watch is the likeliest article, but the kind is likelier a top: the top's first article shares with it."""
    answers = answered([0, 0.3, 0, 0.3, 0.4], [0, 0, 0.6, 0.4], [0.4, 0.6])
    assert answers["article"] == [0, 0.35, 0, 0.3, 0.35]
    assert answers["kind"] == [0, 0, 0.6, 0.4]
    assert answers["section"] == [0.4, 0.6]


def test_nothing_is_touched_without_a_hierarchy() -> None:
    config = tiny_config()
    answers = {name: np.random.default_rng(0).random((3, 2)).astype(np.float32) for name in config.tasks}
    result = Hierarchies(config).consistent(answers)
    assert all(result[name] is answers[name] for name in answers)
    assert Hierarchies(config).needed(["year", "colour"]) == ("colour", "year")


def test_other_tasks_and_the_network_s_own_arrays_are_not_touched() -> None:
    config = shop_config()
    answers = drawn_answers(config, 8, 3)
    before = {name: values.copy() for name, values in answers.items()}
    result = Hierarchies(config).consistent(answers)
    for name, values in before.items():
        np.testing.assert_array_equal(answers[name], values)
    assert result["colour"] is answers["colour"]
    assert result["year"] is answers["year"]


def test_a_chain_that_is_not_complete_is_left_alone() -> None:
    config = shop_config()
    answers = drawn_answers(config, 4, 5)
    del answers["kind"]
    assert all(v is answers[name] for name, v in Hierarchies(config).consistent(answers).items())
    assert Hierarchies(config).needed(["kind", "colour"]) == ("section", "article", "colour", "kind")


def test_a_row_that_is_no_number_disturbs_no_other() -> None:
    config = shop_config()
    answers = drawn_answers(config, 4, 6)
    expected = Hierarchies(config).consistent(answers)
    answers["article"][2] = np.nan
    answers["section"][3, 0] = np.nan
    with np.errstate(all="raise"):
        found = Hierarchies(config).consistent(answers)
    for name in CHAIN:
        np.testing.assert_array_equal(found[name][:2], expected[name][:2])
    assert np.isnan(found["article"][2]).all()


def test_a_hierarchy_without_a_path_is_refused() -> None:
    tasks = {
        "article": {"kind": "multiclass", "labels": ["a", "b"], "parents": {"a": "x"}},
        "kind": {"kind": "multiclass", "labels": ["x", "y"], "parents": {"y": "1"}},
        "section": {"kind": "multiclass", "labels": ["1", "2"]},
    }
    with pytest.raises(ValueError, match=r"no class of 'article' has one above it in kind, section"):
        Hierarchies(tiny_config(tasks=tasks, hierarchies=[list(CHAIN)]))
