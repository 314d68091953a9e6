"""Fusion: α is a mix of the present modalities, uniform at the start."""

from __future__ import annotations

import itertools

import pytest
import torch

from model.config import NetworkConfig
from model.network.fusion import Encoded, build_fusion
from tests.model.making import FUSIONS

WIDTH, MODALITIES = 8, 3
PRESENT = torch.tensor([p for p in itertools.product([False, True], repeat=MODALITIES) if any(p)])


def encoded(seed: int = 0) -> Encoded:
    torch.manual_seed(seed)
    count = len(PRESENT)
    tokens = [torch.randn(count, 2 + m, WIDTH) for m in range(MODALITIES)]
    masks = [PRESENT[:, m, None].expand(-1, 2 + m).clone() for m in range(MODALITIES)]
    return Encoded(torch.randn(count, MODALITIES, WIDTH) * PRESENT[..., None], tokens, masks, PRESENT)


def fusion_of(kind: str, shake: bool) -> torch.nn.Module:
    torch.manual_seed(1)
    fusion = build_fusion(NetworkConfig(width=WIDTH, heads=2, fusion=kind), MODALITIES).eval()
    if shake:
        with torch.no_grad():
            for parameter in fusion.parameters():
                parameter.normal_()
    return fusion


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize("shake", [False, True])
def test_alpha_sums_to_one_over_the_present_and_is_zero_elsewhere(kind: str, shake: bool) -> None:
    _, alpha = fusion_of(kind, shake)(encoded())
    assert bool((alpha[~PRESENT] == 0).all())
    assert bool((alpha >= 0).all())
    torch.testing.assert_close(alpha.sum(1), torch.ones(len(PRESENT)))


def test_alpha_starts_uniform_and_learns_to_differ() -> None:
    _, alpha = fusion_of("alpha", shake=False)(encoded())
    torch.testing.assert_close(alpha, PRESENT / PRESENT.sum(1, keepdim=True), rtol=0, atol=1e-7)
    _, moved = fusion_of("alpha", shake=True)(encoded())
    assert (moved - alpha).abs().max().item() > 0.1


def test_alpha_fusion_is_the_weighted_sum() -> None:
    batch = encoded()
    z, alpha = fusion_of("alpha", shake=True)(batch)
    expected = sum(alpha[:, m, None] * batch.pooled[:, m] for m in range(MODALITIES))
    torch.testing.assert_close(z, expected)


def test_the_gate_sees_which_modalities_are_missing() -> None:
    """The learned stand-in takes a missing modality's place in the gate's input."""
    fusion = fusion_of("alpha", shake=True)
    batch = encoded()
    _, before = fusion(batch)
    with torch.no_grad():
        fusion.stand_in.add_(1.0)
    _, after = fusion(batch)
    changed = (before - after).abs().amax(1) > 1e-6
    # With one modality there is nothing to weigh; with all, no stand-in is read.
    assert changed.tolist() == [bool(count == 2) for count in PRESENT.sum(1)]


@pytest.mark.parametrize("kind", ["concat", "cross_attention", "gated", "alpha"])
def test_every_present_modality_counts(kind: str) -> None:
    fusion = fusion_of(kind, shake=True)
    batch = encoded()
    z, _ = fusion(batch)
    for m in range(MODALITIES):
        other = encoded()
        other.pooled[:, m] += PRESENT[:, m, None] * torch.randn(WIDTH)
        other.tokens[m] += torch.randn(WIDTH)
        moved, _ = fusion(other)
        assert bool(((z - moved).abs().amax(1) > 1e-6)[PRESENT[:, m]].all())
        assert torch.equal(z[~PRESENT[:, m]], moved[~PRESENT[:, m]])
