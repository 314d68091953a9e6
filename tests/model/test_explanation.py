"""Contributions of modalities: what is divided up for each kind of task, and by which coalitions."""

from __future__ import annotations

import numpy as np
import pytest

from model.explanation import coalitions, contributions, explained, narrowed_to_coalitions
from tests.support.tiny import tiny_config

TASKS = tiny_config().tasks
PICTURE, TEXT = np.zeros((16, 12, 3), np.uint8), np.array([1, 2])


def test_the_coalitions_are_all_but_nobody_and_everybody() -> None:
    assert coalitions(["image", "text"]) == [("image",), ("text",)]
    assert coalitions(["text"]) == []
    assert set(coalitions(["a", "b", "c"])) == {("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")}


def test_only_the_chosen_items_are_narrowed_each_to_what_it_has() -> None:
    items = [{"image": PICTURE, "text": TEXT}, {"text": TEXT}, {"image": PICTURE, "text": TEXT}]
    found = narrowed_to_coalitions(items, ("image", "text"), [False, True, True])
    assert found is not None
    assert found.rows.tolist() == [2, 2]
    assert found.present.tolist() == [[True, False], [False, True]]
    assert narrowed_to_coalitions(items, ("image", "text"), [False, True, False]) is None


def test_what_is_explained_is_what_was_answered() -> None:
    answers = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    assert explained(TASKS["colour"], answers, answers[1]).tolist() == [0.3, 0.8]
    assert explained(TASKS["audience"], answers, answers[1]).tolist() == answers.tolist()
    assert explained(TASKS["price"], np.array([[18.0], [22.0]]), np.array([22.0])).tolist() == [18.0, 22.0]
    binary = np.array([[0.1], [0.75]])
    assert explained(TASKS["sporty"], binary, binary[1]).tolist() == [0.1, 0.75]
    assert explained(TASKS["sporty"], binary, binary[0]).tolist() == [0.9, 0.25], "of the label that was said"


@pytest.mark.parametrize("name", TASKS)
def test_base_and_contributions_sum_to_the_answer(name: str) -> None:
    task, generator = TASKS[name], np.random.default_rng(0)
    size = {"sporty": 1, "price": 1}.get(name, len(task.labels))
    prior, whole, *parts = generator.dirichlet(np.ones(size + 1), 8)[:, :size]
    base, values = contributions(task, prior.tolist(), np.array(parts), whole)
    assert len(values) == 3
    assert base + values.sum(0) == pytest.approx(explained(task, whole[None], whole)[0], abs=1e-9)
    # Several items at once are as each by itself.
    many = np.stack([np.array(parts)] * 4, axis=1)
    _, together = contributions(task, prior.tolist(), many, np.stack([whole] * 4), whole)
    np.testing.assert_allclose(together[:, 2], values)


def test_two_modalities_by_hand() -> None:
    """The photo alone says .6, the title alone .8, both .9, and one in ten is of the class anyway."""
    parts, whole = np.array([[0.6, 0.2, 0.2], [0.8, 0.1, 0.1]]), np.array([0.9, 0.05, 0.05])
    base, (photo, title) = contributions(TASKS["colour"], [0.1, 0.4, 0.5], parts, whole)
    assert base == pytest.approx(0.1)
    assert photo == pytest.approx(((0.6 - 0.1) + (0.9 - 0.8)) / 2)
    assert title == pytest.approx(((0.8 - 0.1) + (0.9 - 0.6)) / 2)
