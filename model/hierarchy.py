"""Hierarchies of classes: the answers to a chain of tasks, of which each is a coarser form of the one before.

The network answers each task by itself, so it may say shirts and shoes of one picture. Here its answers become those of
one distribution over paths, a path being a finest class with the classes above it. Each task is believed in turn: the
classes above its own get the sum of those that lie in them, those below share its own as their tasks' answers say
(as in "YOLO9000", Redmon and Farhadi, 2017). The mean of these distributions is taken (a linear opinion pool, Stone,
1961), and each task's answer is the sum over the paths through each class.

The path that is said is the one whose classes are right most often, on average over the tasks. A class on it that is
not the likeliest of its task shares with those that are likelier, and stands before them.

Then, whatever the network said: the likeliest classes lie on one path, no class is likelier than the one above it, and
each task's probabilities sum to 1. All of a chain's tasks are needed to know any of its answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.config import Config

FloatArray = NDArray[np.float32]

# A network that is very sure gives zeros, which cannot be shared out among the classes below.
_LEAST = np.float32(1e-9)


class Chain:
    """One hierarchy: for each of its tasks, the class of that level that each finest class lies in."""

    def __init__(self, tasks: Sequence[str], config: Config) -> None:
        """`tasks`: finest first. Raises ValueError where no finest class has one above it in every task."""
        self.tasks = tuple(tasks)
        parents = [parents_of(config, *pair) for pair in pairwise(tasks)]
        ancestors = [np.arange(len(parents[0]))]
        for above in parents:
            ancestors.append(np.where(ancestors[-1] >= 0, above[ancestors[-1]], -1))
        placed = ancestors[-1] >= 0
        if not placed.any():
            raise ValueError(f"hierarchies: no class of {tasks[0]!r} has one above it in {', '.join(tasks[1:])}")
        # What stands for a class without a place is never read.
        self._ancestors = [np.where(placed, of, 0) for of in ancestors]  # levels × [C_0]
        self._placed = placed.astype(np.float32)  # [C_0]: 0 for a class that is never answered
        # More than any sum of answers, so that no other class is ever said.
        self._bonus = self._placed * np.float32(len(ancestors))
        self._ones = np.ones((len(placed), 1), np.float32)
        # Which class of a level lies in which one of the next: [C_l, C_l+1], zeros and ones. A class that no finest one
        # lies in has a row of zeros.
        self._within: list[FloatArray] = []
        for of, above in zip(self._ancestors, self._ancestors[1:], strict=False):
            sizes = [len(config.tasks[name].labels) for name in tasks[len(self._within) :][:2]]
            within = np.zeros(sizes, np.float32)
            within[of[placed], above[placed]] = 1.0
            self._within.append(within)

    def consistent(self, answers: Sequence[FloatArray]) -> list[FloatArray]:
        """The chain's answers, finest first, each [n, C]; rows sum to 1. A row with a NaN stays one."""
        given = [np.maximum(answer, _LEAST) for answer in answers]
        believed: FloatArray = given[0] * self._placed  # (n, C_0): the finest task's answers are those of the paths
        paths = believed / (believed @ self._ones)  # a sum, by what is faster for few rows
        for level, within in enumerate(self._within):
            # The same answers below, and of this level its own instead of the sum.
            own: FloatArray = np.divide(given[level + 1], np.maximum(given[level] @ within, _LEAST))
            believed = believed * own.take(self._ancestors[level + 1], axis=1)
            paths += believed / (believed @ self._ones)
        paths /= len(given)
        marginals = [paths]
        for within in self._within:
            marginals.append(marginals[-1] @ within)
        said = self._said(marginals)
        for p, of in zip(marginals, self._ancestors, strict=True):
            _head(p, of[said])
        return marginals

    def _said(self, marginals: Sequence[FloatArray]) -> NDArray[np.intp]:
        """The finest class of the path that is said in each row: with the most right answers to be expected, [n]."""
        right = marginals[0] + self._bonus
        for p, of in zip(marginals[1:], self._ancestors[1:], strict=True):
            right += p.take(of, axis=1)
        said: NDArray[np.intp] = right.argmax(axis=1)
        return said


def parents_of(config: Config, name: str, above: str) -> NDArray[np.intp]:
    """The class one level up of each label, -1 where it has none: [C]."""
    index = {label: number for number, label in enumerate(config.tasks[above].labels)}
    task = config.tasks[name]
    return np.array([index.get(task.parents.get(label, ""), -1) for label in task.labels], np.intp)


def _head(probabilities: FloatArray, first: NDArray[np.intp]) -> None:
    """Change rows to the nearest distribution whose likeliest class is `first`. probabilities: [n, C]; first: [n].

    Nearest by squares: the first class and those above it get what they have on average, the other classes stay.
    """
    other = probabilities.argmax(axis=1) != first
    if not other.any():
        return
    for row in np.flatnonzero(other):
        p, top = probabilities[row], first[row]
        rivals = np.argsort(-p, kind="stable")
        rivals = rivals[rivals != top]
        level, count = p[top], 0
        while count < len(rivals) and p[rivals[count]] >= level:
            level = (level * (count + 1) + p[rivals[count]]) / (count + 2)
            count += 1
        p[rivals[:count]] = level
        p[top] = np.nextafter(level, np.float32(2.0))


class Hierarchies:
    """All the chains of a config. Without one, every answer stays as it is."""

    def __init__(self, config: Config) -> None:
        """Take chains and classes from a config with labels and parents. Raises ValueError for an empty hierarchy."""
        self._order = tuple(config.tasks)
        self.chains = tuple(Chain(tasks, config) for tasks in config.hierarchies)

    def needed(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """The tasks whose answers these tasks' answers follow from, in the order of the config."""
        wanted = set(tasks)
        for chain in self.chains:
            if not wanted.isdisjoint(chain.tasks):
                wanted.update(chain.tasks)
        return tuple(name for name in self._order if name in wanted)

    def consistent(self, answers: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Answers that do not contradict one another: task -> [n, C], as `model.outputs.Outputs` has them.

        A chain of which not all tasks are there is left as it is: `needed` names them.
        """
        result = dict(answers)
        for chain in self.chains:
            if all(name in result for name in chain.tasks):
                result.update(zip(chain.tasks, chain.consistent([answers[name] for name in chain.tasks]), strict=True))
        return result
