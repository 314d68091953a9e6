"""Shapley values: the four properties that define them, and the definition itself, over all orders of the players."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.shapley import between, shapley_values

numbers = st.floats(-10, 10)


def games(players: int | None = None, **more: Any) -> st.SearchStrategy[np.ndarray]:
    """A value for each coalition."""
    counts = st.integers(1, 5) if players is None else st.just(players)
    return counts.flatmap(lambda count: arrays.arrays(np.float64, 1 << count, elements=numbers, **more))


def by_orders(values: np.ndarray) -> np.ndarray:
    """What each player adds to those before it, on average over every order: the definition, word by word."""
    players = len(values).bit_length() - 1
    gained = np.zeros(players)
    orders = list(itertools.permutations(range(players)))
    for order in orders:
        there = 0
        for player in order:
            gained[player] += values[there | 1 << player] - values[there]
            there |= 1 << player
    return gained / len(orders)


@given(games(3))
def test_they_are_the_mean_over_all_orders(values: np.ndarray) -> None:
    np.testing.assert_allclose(shapley_values(values), by_orders(values), atol=1e-9)


@given(games())
def test_efficiency_nothing_is_lost(values: np.ndarray) -> None:
    assert values[0] + shapley_values(values).sum() == pytest.approx(values[-1], abs=1e-9)


@given(games(4), st.permutations(range(4)))
def test_symmetry_a_player_is_judged_by_what_it_does(values: np.ndarray, order: list[int]) -> None:
    """With other numbers, the players have the same values."""
    renamed = np.empty_like(values)
    for coalition in range(16):
        renamed[sum(1 << order[player] for player in range(4) if coalition >> player & 1)] = values[coalition]
    np.testing.assert_allclose(shapley_values(renamed)[order], shapley_values(values), atol=1e-9)


@given(games(3), numbers)
def test_dummy_a_player_gets_what_it_adds_whoever_is_there(values: np.ndarray, own: float) -> None:
    """Nothing, where it changes nothing; and it changes nothing for the others."""
    whole = np.concatenate([values, values + own])
    found = shapley_values(whole)
    assert found[3] == pytest.approx(own, abs=1e-9)
    np.testing.assert_allclose(found[:3], shapley_values(values), atol=1e-9)


@given(games(3), games(3))
def test_additivity(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_allclose(shapley_values(one + other), shapley_values(one) + shapley_values(other), atol=1e-9)


@given(arrays.arrays(np.float32, (8, 4), elements=st.floats(-1, 1, width=32)))
def test_several_games_at_once_are_as_each_by_itself(values: np.ndarray) -> None:
    found = shapley_values(values)
    for game in range(4):
        np.testing.assert_allclose(found[:, game], shapley_values(values[:, game]), atol=1e-9)


def test_one_player_gets_everything() -> None:
    np.testing.assert_allclose(shapley_values(np.array([0.25, 0.75])), [0.5])
    assert list(between(1)) == []


@pytest.mark.parametrize("count", [0, 3, 6])
def test_a_game_needs_all_its_coalitions(count: int) -> None:
    with pytest.raises(ValueError, match="not those of all coalitions"):
        shapley_values(np.zeros(count))


def test_between_nobody_and_everybody() -> None:
    assert list(between(2)) == [0b01, 0b10]
    assert len(between(4)) == 14
