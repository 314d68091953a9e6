"""Familiarity fitted to few and to many inputs: shares of ordinary ones are uniform, those of strange ones small."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.bundle import load_bundle
from model.data.dataset import Split
from model.network import Network
from model.network.familiarity import features
from model.predictor import build_network
from model.training.batches import BatchMaker
from model.training.familiarity import collect_features, distances_of, fit_distance, fit_familiarity
from model.unfamiliar.pictures import unfamiliar_pictures
from model.unfamiliar.texts import unfamiliar_texts
from tests.model.making import config_of, item_of, network_of, tensors
from tests.support.familiar import made_split
from tests.support.tiny import make_tiny_bundle


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, dict[str, BatchMaker]]:
    """A network with random weights, and made rows to fit to and to ask about."""
    bundle = load_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))
    rows = {"train": 400, "val": 500, "test": 500}
    return build_network(bundle), {
        name: BatchMaker(bundle.config, made_split(bundle.config, count, seed), bundle.tokenizers)
        for seed, (name, count) in enumerate(rows.items())
    }


def test_unseen_ordinary_inputs_are_told_uniform_shares_and_strange_ones_small_ones(
    makers: tuple[Network, dict[str, BatchMaker]],
) -> None:
    network, made = makers
    curves = fit_familiarity(network, made["train"], made["val"])
    config, test = made["test"].config, made["test"].split
    assert network.familiarity is not None
    strange = Split(
        test.ids[:40],
        {"image": unfamiliar_pictures(config.modalities["image"], 40)["noise"]},  # type: ignore[arg-type]
        {"text": unfamiliar_texts(test.texts["text"], 40)["letters"]},
        test.present[:40],
        {},
    )
    asked = {"ordinary": made["test"], "strange": BatchMaker(config, strange, made["test"].tokenizers)}
    told = {}
    for which, maker in asked.items():
        distances = distances_of(network.familiarity, network.modalities, collect_features(network, maker))
        for name, curve in curves.items():
            told[which, name] = np.array([curve.share(distance) for distance in distances[name].tolist()])
    for name in ("image", "text"):
        ordinary = told["ordinary", name]
        for level in (0.05, 0.2, 0.5):
            # Two samples of 500 each are drawn.
            assert (ordinary < level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 250)), name
        assert np.median(told["strange", name]) < 0.01, name


@pytest.mark.parametrize("rows", [2, 3, 12, 45])
def test_few_rows_are_enough_to_fit_to(makers: tuple[Network, dict[str, BatchMaker]], rows: int) -> None:
    network, made = makers
    split = made_split(made["val"].config, rows, seed=9)
    few = BatchMaker(made["val"].config, split, made["val"].tokenizers)
    curves = fit_familiarity(network, few, few)
    assert {name: curve.count for name, curve in curves.items()} == {"image": rows, "text": rows}
    assert all(values.isfinite().all() for name, values in network.state_dict().items() if "familiarity" in name)


def test_equal_inputs_have_finite_distances() -> None:
    distance = fit_distance(np.ones((20, 8)))
    assert distance(torch.ones(1, 8)).isfinite().all()


def test_a_modality_that_no_row_has_gets_no_curve(makers: tuple[Network, dict[str, BatchMaker]]) -> None:
    network, made = makers
    split = made_split(made["val"].config, 30, seed=9)
    split.present[:, 1] = False
    maker = BatchMaker(made["val"].config, split, made["val"].tokenizers)
    assert set(fit_familiarity(network, maker, maker)) == {"image"}
    assert network.familiarity is not None
    assert len(network.familiarity.inputs) == 2
    split.present[:, 0] = False
    assert fit_familiarity(network, maker, maker) == {}
    assert network.familiarity is None


def test_features_are_an_inputs_own_whatever_else_there_is() -> None:
    """Other inputs of the sample, other samples, and longer texts beside it change nothing."""
    config = config_of()
    network, generator = network_of(config), np.random.default_rng(0)
    items = [item_of(config, pattern, generator) for pattern in (("image", "text"), ("text",), ("image",))]
    with torch.inference_mode():
        for encode in (network.encode, network.encode_densely):
            together = encode(*tensors(items, config))
            for column, name in enumerate(("image", "text")):
                for row, item in enumerate(items):
                    if name in item:
                        alone = encode(*tensors([{name: item[name]}], config))
                        torch.testing.assert_close(
                            features(together, column)[row], features(alone, column)[0], atol=1e-4, rtol=1e-4
                        )


def test_a_distance_is_the_one_of_the_papers() -> None:
    """To the nearest group less to all, each by the inverse of its covariance, as plain algebra has it."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(300, 6)) @ generator.normal(size=(6, 6)) + generator.integers(0, 3, (300, 1)) * 8
    distance = fit_distance(values)
    basis, variances = distance.basis.double().numpy(), 1 / distance.weights.double().numpy()
    inverse = np.linalg.inv(basis)
    within, total = inverse.T @ inverse, inverse.T @ np.diag(variances) @ inverse
    means = distance.groups.double().numpy() @ inverse
    asked = generator.normal(size=(5, 6)) * 20
    centred = asked - values.mean(0)
    to_all = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(total), centred)
    apart = centred[:, None] - means
    to_groups = np.einsum("nki,ij,nkj->nk", apart, np.linalg.inv(within), apart)
    np.testing.assert_allclose(
        distance(torch.from_numpy(asked).float()).numpy(), to_groups.min(1) - to_all, rtol=1e-3, atol=1e-2
    )
    plain = np.cov(values.T, bias=True)
    np.testing.assert_allclose(total, plain, atol=0.06 * np.abs(plain).max())
