"""Exact Shapley values: what each player of a game contributes, from the game's value for every coalition.

A player's value is what it adds to those who came before it, on average over all orders in which they may come. Source:
Shapley, "A Value for n-Person Games", 1953. Here the players are the modalities of a request.

A coalition is known by its bits: bit m is set where player m takes part.
"""

from __future__ import annotations

from math import factorial

import numpy as np
from numpy.typing import NDArray

# The number of coalitions doubles with each player: 6 of them make 64 answers of one request.
MOST_PLAYERS = 6


def between(players: int) -> range:
    """The coalitions between nobody and everybody, whose values have to be found besides those two."""
    return range(1, (1 << players) - 1)


def shapley_values(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Each player's contribution, float64 [M, …]; they sum to values[-1] - values[0].

    values: float [2^M, …], the value of each coalition, by its bits. Raises ValueError for another number of values.
    """
    players = max(0, len(values).bit_length() - 1)
    if len(values) != 1 << players:
        raise ValueError(f"{len(values)} values are not those of all coalitions; 2, 4, 8 and so on are needed")
    result = np.zeros((players, *values.shape[1:]), np.float64)
    for coalition in range(1 << players):
        size = coalition.bit_count()
        for player in range(players):
            if not coalition >> player & 1:
                # The share of all orders in which exactly these come before the player.
                share = factorial(size) * factorial(players - size - 1) / factorial(players)
                gained = values[coalition | 1 << player].astype(np.float64) - values[coalition]
                result[player] += share * gained
    return result
