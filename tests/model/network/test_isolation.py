"""What one sample is told depends on that sample alone: not on batchmates, padding, or what it does not have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.config import Config
from model.network import Network, NetworkOutput
from tests.model.making import FUSIONS, config_of, item_of, network_of, patterns, tensors

THREE = ("image", "text", "brand")


@pytest.fixture(params=FUSIONS)
def config(request: pytest.FixtureRequest) -> Config:
    return config_of(fusion=request.param, modalities=THREE)


@pytest.fixture
def network(config: Config) -> Network:
    count = len(config.tasks)
    return network_of(config, torch.ones(count, count) - torch.eye(count))


def assert_same(one: NetworkOutput, row: int, other: NetworkOutput, other_row: int, pattern: tuple[str, ...]) -> None:
    torch.testing.assert_close(one.alpha[row], other.alpha[other_row], rtol=0, atol=1e-5)
    for task, values in one.fused.items():
        torch.testing.assert_close(values[row], other.fused[task][other_row], rtol=0, atol=1e-5)
    for modality in pattern:
        for task, values in one.single[modality].items():
            torch.testing.assert_close(values[row], other.single[modality][task][other_row], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_batchmates_and_padding_do_not_matter(config: Config, network: Network) -> None:
    generator = np.random.default_rng(3)
    order = patterns(config) * 2
    items = [item_of(config, pattern, generator) for pattern in order]
    together = network(*tensors(items, config))
    assert together.fused["colour"].std(dim=0).min() > 1e-3, "the samples must differ for the test to say anything"
    for row, (item, pattern) in enumerate(zip(items, order, strict=True)):
        assert_same(network(*tensors([item], config)), 0, together, row, pattern)


@torch.inference_mode()
def test_longer_padding_does_not_matter(config: Config, network: Network) -> None:
    items = [item_of(config, THREE, np.random.default_rng(4))]
    items[0] = {**items[0], "text": items[0]["text"][:3]}
    inputs, present = tensors(items, config)
    padded = dict(inputs)
    padded["text"] = torch.nn.functional.pad(inputs["text"], (0, 9))
    assert_same(network(inputs, present), 0, network(padded, present), 0, THREE)


@torch.inference_mode()
def test_order_within_the_batch_does_not_matter(config: Config, network: Network) -> None:
    generator = np.random.default_rng(5)
    order = patterns(config)
    items = [item_of(config, pattern, generator) for pattern in order]
    ahead, back = network(*tensors(items, config)), network(*tensors(items[::-1], config))
    for row, pattern in enumerate(order):
        assert_same(ahead, row, back, len(order) - 1 - row, pattern)


@torch.inference_mode()
def test_bytes_of_a_missing_modality_cannot_influence_the_answer(config: Config, network: Network) -> None:
    """Whatever stands in the row of a missing modality, every answer of every row is the same to the bit."""
    generator = np.random.default_rng(6)
    full = [item_of(config, THREE, generator) for _ in patterns(config)]
    inputs, _ = tensors(full, config)
    present = torch.tensor([[name in pattern for name in config.modalities] for pattern in patterns(config)])
    before = network(inputs, present)
    for fill in ("zeros", "highest", "noise"):
        changed = {}
        for column, (name, values) in enumerate(inputs.items()):
            limit = 256 if name == "image" else 40
            other = {
                "zeros": torch.zeros_like(values),
                "highest": torch.full_like(values, limit - 1),
                "noise": torch.from_numpy(generator.integers(0, limit, values.shape)).to(values.dtype),
            }[fill]
            here = present[:, column].view(-1, *[1] * (values.dim() - 1))
            changed[name] = torch.where(here, values, other)
        after = network(changed, present)
        assert torch.equal(before.alpha, after.alpha)
        for task in config.tasks:
            assert torch.equal(before.fused[task], after.fused[task]), (fill, task)
        for column, name in enumerate(config.modalities):
            for task in config.tasks:
                has = present[:, column]
                assert torch.equal(before.single[name][task][has], after.single[name][task][has])


@torch.inference_mode()
def test_not_even_a_nan_gets_in_by_a_missing_modality(config: Config, network: Network) -> None:
    """Narrowed to fewer modalities after encoding, the hidden ones' vectors and tokens may hold anything."""
    inputs, present = tensors([item_of(config, THREE, np.random.default_rng(7))], config)
    encoded = network.encode(inputs, present)
    narrowed = encoded.narrowed(torch.tensor([[True, False, True]]))
    expected, alpha = network.decode(narrowed)
    encoded.pooled[:, 1] = float("nan")
    if config.network.fusion != "cross_attention":  # attention masks by weight 0, and 0 times NaN is NaN
        encoded.tokens[1].fill_(float("nan"))
    else:
        encoded.tokens[1].fill_(1e6)
    found, found_alpha = network.decode(encoded.narrowed(torch.tensor([[True, False, True]])))
    assert torch.equal(alpha, found_alpha)
    for task in config.tasks:
        assert torch.equal(expected[task], found[task])


@torch.inference_mode()
def test_hiding_a_modality_equals_not_having_it(config: Config, network: Network) -> None:
    generator = np.random.default_rng(8)
    items = [item_of(config, THREE, generator) for _ in range(3)]
    inputs, present = tensors(items, config)
    encoded = network.encode(inputs, present)
    for pattern in patterns(config):
        mask = torch.tensor([name in pattern for name in THREE]).expand_as(present)
        hidden, alpha = network.decode(encoded.narrowed(mask))
        alone = network(*tensors([{name: item[name] for name in pattern} for item in items], config))
        torch.testing.assert_close(alpha, alone.alpha, rtol=0, atol=1e-5)
        for task in config.tasks:
            torch.testing.assert_close(hidden[task], alone.fused[task], rtol=0, atol=1e-5)
