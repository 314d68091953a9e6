"""Hierarchies to test with: trees of classes, whole or with classes that have no place, and answers of any kind."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from model.config import Config
from tests.support.tiny import tiny_config

CHAIN = ("article", "kind", "section")
PARENTS = {
    "article": {"shirt": "top", "blouse": "top", "jeans": "bottom", "watch": "watches", "belt": "belts"},
    "kind": {"top": "clothes", "bottom": "clothes", "watches": "accessories", "belts": "accessories"},
}
LABELS = {
    "article": ["belt", "blouse", "jeans", "shirt", "watch"],
    "kind": ["belts", "bottom", "top", "watches"],
    "section": ["accessories", "clothes"],
}


def shop_config() -> Config:
    """The tiny config with three levels of classes, and two tasks beside them, one in the middle."""
    tasks: dict[str, Any] = {
        "section": {"kind": "multiclass", "labels": LABELS["section"]},
        "article": {"kind": "multiclass", "labels": LABELS["article"], "parents": PARENTS["article"]},
        "colour": {"kind": "multiclass", "labels": ["blue", "red"]},
        "kind": {"kind": "multiclass", "labels": LABELS["kind"], "parents": PARENTS["kind"]},
        "year": {"kind": "ordinal", "labels": ["2010", "2011", "2012"]},
    }
    return tiny_config(tasks=tasks, hierarchies=[list(CHAIN)])


@st.composite
def forests(draw: st.DrawFn) -> Config:
    """A config with one or two hierarchies of two to four levels; some classes have nothing above or below them."""
    tasks: dict[str, Any] = {"colour": {"kind": "multiclass", "labels": ["blue", "red"]}}
    hierarchies = []
    for number in range(draw(st.integers(1, 2))):
        sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=4))
        names = [f"{number}.{level}" for level in range(len(sizes))]
        for level, (name, size) in enumerate(zip(names, sizes, strict=True)):
            labels = [f"{name}:{c}" for c in range(size)]
            parents = {}
            if level + 1 < len(sizes):
                above = st.integers(-1 if draw(st.booleans()) else 0, sizes[level + 1] - 1)
                chosen = [draw(above) for _ in labels]
                # The first class has a place, so that there is a path.
                chosen[0] = max(chosen[0], 0) if level == 0 else chosen[0]
                parents = {label: f"{names[level + 1]}:{c}" for label, c in zip(labels, chosen, strict=True) if c >= 0}
            tasks[name] = {"kind": "multiclass", "labels": labels, "parents": parents}
        # A class that the first one lies in lies somewhere too.
        at = f"{names[0]}:0"
        for name, above_name in pairwise(names):
            at = tasks[name]["parents"].setdefault(at, f"{above_name}:0")
        hierarchies.append(names)
    return tiny_config(tasks=dict(draw(st.permutations(list(tasks.items())))), hierarchies=hierarchies)


def drawn_answers(config: Config, rows: int, seed: int) -> dict[str, np.ndarray]:
    """Answers of a network whose tasks know nothing of one another: from undecided to certain, zeros and ties too."""
    generator = np.random.default_rng(seed)
    answers = {}
    for name, task in config.tasks.items():
        logits = generator.normal(size=(rows, len(task.labels))) * generator.choice([0.0, 1.0, 5.0, 200.0], (rows, 1))
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        answers[name] = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    return answers


def contradictions(config: Config, labels: dict[str, str]) -> list[str]:
    """What is wrong with labels that were answered together; those of tasks that were not asked for are not there."""
    wrong = []
    for chain in config.hierarchies:
        asked = [name for name in chain if name in labels]
        for name, above in pairwise(asked):
            label = labels[name]
            for step in chain[chain.index(name) : chain.index(above)]:
                label = config.tasks[step].parents.get(label, "nowhere")
            if label != labels[above]:
                wrong.append(f"{name} {labels[name]} is {label}, but {above} {labels[above]}")
    return wrong
