"""The predictor: prepared items in, calibrated answers out, each item's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.bundle import Bundle, load_bundle
from model.explanation import narrowed_to_coalitions
from model.network.heads import activate
from model.network.multi_model import FUSED, temper
from model.predictor import Predictor
from model.preprocess import Item
from tests.model.making import patterns, tensors
from tests.support.tiny import WORDS, make_tiny_bundle

SIZES = {"colour": 3, "audience": 3, "sporty": 1, "price": 1, "year": 4}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    loaded = load_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))
    # A mix and a temperature that differ from pattern to pattern and from task to task.
    generator = np.random.default_rng(0)
    for tasks in loaded.calibration.patterns.values():
        for entry in tasks.values():
            members = list(entry.beta)
            entry.beta = dict(zip(members, generator.dirichlet(np.ones(len(members))).tolist(), strict=True))
            entry.temperatures = dict(zip(members, generator.uniform(0.5, 3, len(members)).tolist(), strict=True))
    loaded.calibration.patterns["image+text"]["colour"].mix_temperature = (-0.3, 0.9)
    loaded.calibration.patterns["text"]["year"].mix_temperature = (0.2, -0.5)
    return loaded


@pytest.fixture(scope="module")
def predictor(bundle: Bundle) -> Predictor:
    return Predictor(bundle)


@pytest.fixture(scope="module")
def items(bundle: Bundle) -> list[Item]:
    """Three samples of each pattern."""
    generator = np.random.default_rng(1)
    made: list[Item] = []
    for pattern in patterns(bundle.config) * 3:
        item: dict[str, np.ndarray] = {}
        if "image" in pattern:
            item["image"] = generator.integers(0, 256, (16, 12, 3), dtype=np.uint8)
        if "text" in pattern:
            count = int(generator.integers(1, 10))
            item["text"] = bundle.tokenizers["text"](" ".join(generator.choice(WORDS, count))).ids
        made.append(item)
    return made


def test_answers_have_the_shape_of_their_kind(predictor: Predictor, items: list[Item]) -> None:
    outputs = predictor(items)
    assert {name: values.shape for name, values in outputs.probabilities.items()} == {
        name: (len(items), size) for name, size in SIZES.items()
    }
    for name, values in outputs.probabilities.items():
        assert values.dtype == np.float32
        if name in ("colour", "year"):
            assert values.sum(1) == pytest.approx(1, abs=1e-5)
        if name != "price":
            assert ((values >= 0) & (values <= 1 + 1e-6)).all()
    assert outputs.alpha.sum(1) == pytest.approx(1, abs=1e-6)
    present = np.array([[name in item for name in ("image", "text")] for item in items])
    assert (outputs.alpha[~present] == 0).all()


def test_an_item_in_a_mixed_batch_is_answered_as_alone(predictor: Predictor, items: list[Item]) -> None:
    together = predictor(items)
    for row, item in enumerate(items):
        alone = predictor([item])
        assert alone.alpha[0] == pytest.approx(together.alpha[row], abs=1e-5)
        for name, values in together.probabilities.items():
            scale = 5.0 if name == "price" else 1.0
            assert alone.probabilities[name][0] / scale == pytest.approx(values[row] / scale, abs=1e-5)


@torch.inference_mode()
def test_answers_are_the_calibrated_mix_of_the_items_own_pattern(
    bundle: Bundle, predictor: Predictor, items: list[Item]
) -> None:
    outputs = predictor(items)
    for row, item in enumerate(items):
        pattern = tuple(name for name in bundle.config.modalities if name in item)
        raw = predictor.network(*tensors([item], bundle.config))
        for name, task in bundle.config.tasks.items():
            entry = bundle.calibration.patterns["+".join(pattern)][name]
            expected = np.zeros(SIZES[name])
            for member in (FUSED, *pattern):
                values = raw.fused[name] if member == FUSED else raw.single[member][name]
                temperature = 1.0 if task.kind == "regression" else entry.temperatures[member]
                expected += entry.beta[member] * activate(task, values / temperature)[0].numpy()
            if any(entry.mix_temperature):
                expected = temper(torch.from_numpy(expected)[None], *entry.mix_temperature)[0].numpy()
            assert outputs.probabilities[name][row] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_subset_of_tasks_gets_the_same_answers(predictor: Predictor, items: list[Item]) -> None:
    everything = predictor(items)
    for asked in (["year"], ["price", "colour"]):
        some = predictor(items, asked)
        assert list(some.probabilities) == list(some.relation) == asked
        for name in asked:
            assert some.probabilities[name] == pytest.approx(everything.probabilities[name], rel=1e-5, abs=1e-5)


def test_relation_is_told_for_each_task(predictor: Predictor, items: list[Item]) -> None:
    relation = predictor(items[:1]).relation
    for task, weights in relation.items():
        assert task not in weights
        assert sum(weights.values()) == pytest.approx(1)


def test_an_item_with_nothing_in_it_is_refused(predictor: Predictor, items: list[Item]) -> None:
    for batch in ([{}], [items[0], {}]):
        with pytest.raises(ValueError, match="no modality"):
            predictor(batch)


def test_answers_repeat_to_the_bit(predictor: Predictor, items: list[Item]) -> None:
    one, two = predictor(items), predictor(items)
    for name in SIZES:
        assert np.array_equal(one.probabilities[name], two.probabilities[name])


def test_further_answers_are_those_to_items_that_have_less(predictor: Predictor, items: list[Item]) -> None:
    both = [item for item in items if len(item) == 2]
    chosen = [number % 2 == 0 for number in range(len(both))]
    narrowed = narrowed_to_coalitions(both, ("image", "text"), chosen)
    assert narrowed is not None
    found = predictor(both, narrowed=narrowed)
    less = [
        {name: item[name]} for item, wanted in zip(both, chosen, strict=True) if wanted for name in ("image", "text")
    ]
    expected = predictor([*both, *less])
    assert found.alpha == pytest.approx(expected.alpha, abs=1e-6)
    for name in SIZES:
        assert found.probabilities[name] == pytest.approx(expected.probabilities[name], rel=1e-5, abs=1e-5)
