"""Every combination of the config's choices builds, answers and learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.model.making import FUSIONS, MODALITIES, config_of, item_of, network_of, patterns, tensors

RAW = {"colour": 3, "audience": 3, "sporty": 1, "price": 1, "year": 3}


@pytest.mark.parametrize("modalities", MODALITIES, ids="+".join)
@pytest.mark.parametrize("blocks", [0, 1])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_forward_and_backward(fusion: str, blocks: int, modalities: tuple[str, ...]) -> None:
    config = config_of(fusion, blocks, modalities)
    count = len(config.tasks)
    network = network_of(config, torch.ones(count, count) - torch.eye(count)).train()
    generator = np.random.default_rng(0)
    inputs, present = tensors([item_of(config, p, generator) for p in patterns(config) * 2], config)
    output = network(inputs, present)
    assert output.alpha.shape == present.shape
    assert set(output.single) == set(modalities)
    members = [output.fused, *output.single.values()]
    for answers in members:
        assert {name: tuple(values.shape) for name, values in answers.items()} == {
            name: (len(present), size) for name, size in RAW.items()
        }
    loss = sum(values.square().mean() for answers in members for values in answers.values())
    loss.backward()
    without = {n for n, p in network.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())}
    # A stand-in that no fusion reads, because nothing can be missing or only present vectors count, learns nothing.
    assert without <= {"fusion.stand_in"}, without


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
@pytest.mark.parametrize("size", [(8, 8), (17, 9), (31, 64)])
def test_pictures_of_any_size(size: tuple[int, int], stem_stride: int) -> None:
    encoder = {"kind": "conv", "widths": [8, 8, 16], "depths": [1, 1, 1], "stem_stride": stem_stride}
    image = {"kind": "image", "height": size[0], "width": size[1], "encoder": encoder}
    config = config_of().model_validate({**config_of().model_dump(), "modalities": {"image": image}})
    inputs, present = tensors([item_of(config, ("image",), np.random.default_rng(0)) for _ in range(2)], config)
    assert bool(network_of(config)(inputs, present).fused["colour"].isfinite().all())


def test_a_text_encoder_needs_its_vocabulary() -> None:
    from model.network import Network

    with pytest.raises(ValueError, match="vocabulary"):
        Network(config_of(), {})
