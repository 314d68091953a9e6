"""T: given, or estimated from constructed labels and gradients whose relations are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.config import Config
from model.data.dataset import Dataset, Split
from model.network import Network
from model.training.batches import BatchMaker
from model.training.relation import describe, given_relation, gradient_affinity, label_affinity, threshold
from model.training.trainer import train_tokenizers
from tests.support.tiny import tiny_config

COUNT = 6000


def constructed() -> tuple[Config, Split]:
    """fine fixes coarse; tags and value follow from fine; other is independent of all."""
    generator = np.random.default_rng(0)
    fine = generator.integers(0, 4, COUNT)
    tasks = {
        "fine": {"kind": "multiclass", "labels": list("abcd")},
        "coarse": {"kind": "binary", "labels": ["x", "y"]},
        "tags": {"kind": "multilabel", "separator": "|", "labels": ["p", "q"]},
        "value": {"kind": "regression"},
        "other": {"kind": "ordinal", "labels": ["1", "2", "3"]},
    }
    labels = {
        "fine": fine,
        "coarse": fine // 2,
        "tags": np.stack([fine % 2, fine // 2], axis=1).astype(np.float32),
        "value": (fine * 10).astype(np.float32),
        "other": generator.integers(0, 3, COUNT),
    }
    labels["coarse"][::7] = -1
    labels["tags"][::5] = np.nan
    labels["value"][::3] = np.nan
    return tiny_config(tasks=tasks), Split([str(i) for i in range(COUNT)], {}, {}, np.ones((COUNT, 2), bool), labels)


def test_label_affinity_of_constructed_labels() -> None:
    config, split = constructed()
    affinity = describe(label_affinity(config, split), config.tasks)
    assert affinity["coarse"]["fine"] == pytest.approx(1)
    assert affinity["fine"]["coarse"] == pytest.approx(0.5, abs=0.01), "one bit of two"
    assert affinity["tags"]["fine"] == affinity["fine"]["tags"] == pytest.approx(1)
    assert affinity["fine"]["value"] == pytest.approx(1)
    for task in ("fine", "coarse", "tags", "value"):
        assert affinity["other"][task] < 0.01
        assert affinity[task]["other"] < 0.01
    assert np.diag(label_affinity(config, split)).tolist() == [0] * 5


def test_threshold_gives_a_relation() -> None:
    config, split = constructed()
    relation = threshold(label_affinity(config, split), 0.8)
    names = list(config.tasks)
    reads = {k: {names[j] for j in range(5) if relation[i][j]} for i, k in enumerate(names)}
    assert reads["coarse"] == {"fine", "tags", "value"}
    assert reads["fine"] == {"tags", "value"}
    assert reads["other"] == set()
    assert threshold(np.ones((2, 2)), 0.0) == [[0, 1], [1, 0]], "never a task with itself"


def test_labels_that_never_meet_or_never_vary_have_no_affinity() -> None:
    config, split = constructed()
    split.labels["coarse"] = np.full(COUNT, -1)
    split.labels["other"] = np.zeros(COUNT, dtype=np.int64)
    split.labels["value"] = np.full(COUNT, np.nan, dtype=np.float32)
    affinity = label_affinity(config, split)
    assert np.isfinite(affinity).all()
    for row in (1, 3, 4):
        assert not affinity[row].any()
        assert not affinity[:, row].any()


def test_given_pairs_are_directed() -> None:
    config = tiny_config(relation={"kind": "given", "pairs": [["colour", "year"], ["price", "price"]]})
    relation = np.array(given_relation(config))
    names = list(config.tasks)
    assert np.argwhere(relation).tolist() == [[names.index("colour"), names.index("year")]]


def test_gradient_affinity_is_a_symmetric_cosine_and_finds_twins(dataset: Dataset) -> None:
    """round is shape under another name; a copied head makes their gradients point the same way."""
    config = dataset.config
    tokenizers = train_tokenizers(config, dataset)
    torch.manual_seed(0)
    network = Network(config, {name: t.vocab_size for name, t in tokenizers.items()})
    names = list(config.tasks)
    shape, other = names.index("shape"), names.index("round")
    with torch.no_grad():
        for parameter in (network.task_relation.U, network.task_relation.bias):
            parameter[other] = parameter[shape]
        bar, disc = network.heads.layers[shape].weight
        # shape: bar, disc; round: no, yes: the same question.
        network.heads.layers[other].weight[0] = disc - bar
        network.heads.layers[other].bias[0] = network.heads.layers[shape].bias[1] - network.heads.layers[shape].bias[0]
    maker = BatchMaker(config, dataset.splits["train"], tokenizers)
    batches = [maker.make(np.arange(start, start + 32)) for start in (0, 32)]
    affinity = gradient_affinity(config, network, batches)
    assert np.allclose(affinity, affinity.T, atol=1e-6)
    assert np.diag(affinity).tolist() == [0] * len(names)
    assert np.abs(affinity).max() <= 1 + 1e-6
    assert affinity[shape, other] == pytest.approx(1, abs=1e-4)
    assert np.abs(affinity[shape, names.index("size")]) < 0.95


def test_a_task_without_labels_has_no_gradient_affinity(dataset: Dataset) -> None:
    config = dataset.config
    tokenizers = train_tokenizers(config, dataset)
    network = Network(config, {name: t.vocab_size for name, t in tokenizers.items()})
    batch = BatchMaker(config, dataset.splits["train"], tokenizers).make(np.arange(8))
    batch.targets["shape"] = torch.full_like(batch.targets["shape"], -1)
    affinity = gradient_affinity(config, network, [batch])
    assert np.isfinite(affinity).all()
    assert not affinity[0].any()
