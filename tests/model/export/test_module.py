"""The traced network, before any tracing: the predictor's answers, whatever stands in the missing rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.bundle import Bundle, load_bundle
from model.calibration import patterns_of
from model.config import ImageModality
from model.export.module import CalibratedNetwork
from model.predictor import Predictor
from model.preprocess import Batch
from tests.model.export.bundles import CONFIGS, make_bundle

FUSIONS = list(CONFIGS)


@pytest.fixture(scope="module", params=FUSIONS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(make_bundle(tmp_path_factory.mktemp("bundle") / request.param, CONFIGS[request.param]))


def draw(bundle: Bundle) -> Batch:
    """Two rows of every pattern."""
    generator = torch.Generator().manual_seed(1)
    names = list(bundle.config.modalities)
    present = np.array([[name in pattern for name in names] for pattern in patterns_of(bundle.config) * 2])
    inputs = {}
    for name, modality in bundle.config.modalities.items():
        if isinstance(modality, ImageModality):
            shape: tuple[int, ...] = (len(present), modality.height, modality.width, 3)
            inputs[name] = torch.randint(256, shape, generator=generator, dtype=torch.uint8).numpy()
        else:
            shape = (len(present), modality.max_tokens)
            inputs[name] = torch.randint(1, bundle.vocab_sizes()[name], shape, generator=generator).numpy()
    return Batch(inputs, present)


def run(network: CalibratedNetwork, batch: Batch) -> list[torch.Tensor]:
    with torch.inference_mode():
        inputs = [torch.from_numpy(values) for values in batch.inputs.values()]
        return list(network(inputs, torch.from_numpy(batch.present)))


def test_it_answers_as_the_predictor_does(bundle: Bundle) -> None:
    batch = draw(bundle)
    *answers, alpha = run(CalibratedNetwork(bundle), batch)
    expected = Predictor(bundle).run(batch)
    for answer, (task, probabilities) in zip(answers, expected.probabilities.items(), strict=True):
        np.testing.assert_allclose(answer, probabilities, atol=1e-5, rtol=1e-5, err_msg=task)
    np.testing.assert_allclose(alpha, expected.alpha, atol=1e-5)


def test_a_missing_row_has_no_influence_even_when_its_encoder_gives_nan(bundle: Bundle) -> None:
    batch = draw(bundle)
    network = CalibratedNetwork(bundle)
    clean = run(network, batch)
    for column, encoder in enumerate(network.network.encoders):
        missing = torch.from_numpy(~batch.present[:, column])

        def spoil(module: object, inputs: object, output: object, missing: torch.Tensor = missing) -> object:
            tokens, mask = output  # type: ignore[misc]
            return tokens.masked_fill(missing[:, None, None], torch.nan), mask

        encoder.register_forward_hook(spoil)
    for found, expected in zip(run(network, batch), clean, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_row_without_any_modality_is_answered_with_nan_and_leaves_the_others_alone(bundle: Bundle) -> None:
    batch = draw(bundle)
    network = CalibratedNetwork(bundle)
    whole = run(network, batch)
    batch.present[1] = False
    others = [row for row in range(len(batch)) if row != 1]
    for found, expected in zip(run(network, batch), whole, strict=True):
        assert found[1].isnan().all()
        torch.testing.assert_close(found[others], expected[others])


def test_each_pattern_has_a_calibration_of_its_own(tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "tiny", CONFIGS["alpha"]))
    before = run(CalibratedNetwork(bundle), draw(bundle))[0]
    bundle.calibration.patterns["image"]["colour"].temperatures["fused"] *= 3
    bundle.calibration.patterns["image"]["colour"].beta.update(fused=0.5, image=0.5)
    after = run(CalibratedNetwork(bundle), draw(bundle))[0]
    changed = (before - after).abs().amax(1) > 1e-3
    assert changed.tolist() == [False, True, False] * 2


def test_what_one_task_cannot_say_spoils_no_other(tmp_path: Path) -> None:
    """A value that is too large for its type must not reach, as 0 · ∞, the temperature of another task's answer."""
    bundle = load_bundle(make_bundle(tmp_path / "tiny", CONFIGS["alpha"]))
    tasks = bundle.config.tasks
    before = run(CalibratedNetwork(bundle), draw(bundle))[: len(tasks)]
    tasks["price"] = tasks["price"].model_copy(update={"scale": (float("inf"), 1.0)})
    after = run(CalibratedNetwork(bundle), draw(bundle))[: len(tasks)]
    for name, found, expected in zip(tasks, after, before, strict=True):
        if name == "price":
            assert not found.isfinite().any()
        else:
            torch.testing.assert_close(found, expected)
