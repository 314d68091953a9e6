"""How familiar each input is: the same on every runtime, across the process boundary, from the cache and in HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.serving.answers import familiarity
from app.serving.runtime import Runtime, run
from app.serving.runtimes.cuda import CudaRuntime
from app.serving.runtimes.onnxruntime import OnnxRuntime
from app.serving.runtimes.openvino import OpenVinoRuntime
from app.serving.runtimes.torch import TorchRuntime
from app.serving.splitting import Row
from model.bundle import Bundle, load_bundle
from model.outputs import Outputs
from model.predictor import Predictor
from model.preprocess import Item
from tests.app.api.harness import running as service
from tests.app.intake.pictures import corners, file
from tests.app.serving.bench import ALL, parts, running
from tests.app.serving.remote.setup import house
from tests.model.export.bundles import config_with
from tests.support.familiar import made_split, make_familiar_bundle
from tests.support.standin import StandInDevice

MAKERS: dict[str, Callable[[Bundle], Runtime]] = {
    "openvino": lambda bundle: OpenVinoRuntime(bundle, precision="fp32"),
    "onnxruntime": OnnxRuntime,
    "torch": TorchRuntime,
    "cuda": lambda bundle: CudaRuntime(bundle, (1, 2, 4), device=StandInDevice()),
    "cuda bf16": lambda bundle: CudaRuntime(bundle, (1, 2, 4), device=StandInDevice(has_bf16=True)),
    "torch bf16": lambda bundle: TorchRuntime(bundle, precision="bf16"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Tracing takes time by the node.
    small = config_with("alpha")
    return make_familiar_bundle(tmp_path_factory.mktemp("bundles") / "familiar", config=small, graph=True)


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return load_bundle(folder)


@pytest.fixture(scope="module")
def items(bundle: Bundle) -> list[Item]:
    """Ordinary pictures and texts, and noise; together, and each alone."""
    split = made_split(bundle.config, 6, seed=5)
    generator = np.random.default_rng(6)
    pictures = [*split.images["image"], generator.integers(0, 256, (16, 12, 3), dtype=np.uint8)]
    texts = [bundle.tokenizers["text"](text).ids for text in [*split.texts["text"], "zq xw kj vv"]]
    both: list[Item] = [{"image": i, "text": t} for i, t in zip(pictures, texts, strict=True)]
    return [*both, *({"image": item["image"]} for item in both), *({"text": item["text"]} for item in both)]


def told(bundle: Bundle, items: list[Item], outputs: Outputs) -> list[dict[str, float]]:
    assert outputs.distance is not None
    found = []
    for item, distance in zip(items, outputs.distance, strict=True):
        row = Row({}, np.ones(2), distance=distance)
        shares = familiarity(row, tuple(item), bundle.config, bundle.calibration)
        assert shares is not None
        found.append(shares)
    return found


@pytest.fixture(scope="module")
def expected(bundle: Bundle, items: list[Item]) -> list[dict[str, float]]:
    return told(bundle, items, Predictor(bundle)(items))


@pytest.mark.parametrize("name", MAKERS)
def test_runtimes_agree_in_batches_and_alone(
    name: str, bundle: Bundle, items: list[Item], expected: list[dict[str, float]]
) -> None:
    runtime = MAKERS[name](bundle)
    tolerance = 0.1 if runtime.precision == "bf16" else 2e-3
    found = [share for start in range(0, len(items), 4) for share in told(
        bundle, items[start : start + 4], run(runtime, items[start : start + 4])
    )]  # fmt: skip
    alone = [told(bundle, [item], run(runtime, [item]))[0] for item in items[5:9]]
    for shares, right in (*zip(found, expected, strict=True), *zip(alone, expected[5:9], strict=True)):
        assert shares == pytest.approx(right, abs=tolerance)


def test_an_input_is_as_familiar_alone_as_beside_another(items: list[Item], expected: list[dict[str, float]]) -> None:
    both, pictures, texts = expected[:7], expected[7:14], expected[14:]
    assert [set(shares) for shares in (both[0], pictures[0], texts[0])] == [{"image", "text"}, {"image"}, {"text"}]
    for shares, picture, text in zip(both, pictures, texts, strict=True):
        assert shares == pytest.approx(picture | text, abs=1e-3)
    assert both[6]["image"] < 0.01 < max(shares["image"] for shares in both[:6]), "noise, and ordinary pictures"


@pytest.mark.anyio
async def test_it_crosses_the_process_boundary_and_comes_from_the_cache(folder: Path) -> None:
    async with running(folder, cache_bytes=1 << 20) as bench, house(folder) as remote:
        for seed in range(8):
            here = await bench.pipeline.predict(parts(seed), ALL)
            there = await remote.pipelines[0].predict(parts(seed), ALL)
            assert here.familiarity is not None
            assert set(here.familiarity) == set(here.modalities)
            assert there.familiarity == here.familiarity
            kept = await bench.pipeline.predict(parts(seed), ALL)
            assert kept.batch_size == 0, "from the cache"
            assert kept.familiarity == here.familiarity


@pytest.mark.anyio
async def test_a_bundle_without_it_serves_without(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench, house(tiny_bundle) as remote:
        assert (await bench.pipeline.predict(parts(0), ALL)).familiarity is None
        assert (await remote.pipelines[0].predict(parts(0), ALL)).familiarity is None


def test_it_stands_in_the_answer_of_http_where_the_bundle_has_it(folder: Path, tiny_bundle: Path) -> None:
    request = {"files": {"image": ("photo.png", file(corners(), "PNG"))}, "data": {"text": "red cotton shirt"}}
    with service(folder) as running_service:
        answer = running_service.client.post("/predict", **request).json()
        assert set(answer["familiarity"]) == {"image", "text"}
        assert all(0 < share <= 1 for share in answer["familiarity"].values())
        alone = running_service.client.post("/predict", files={"text": (None, "red cotton shirt")}).json()
        assert alone["familiarity"] == pytest.approx({"text": answer["familiarity"]["text"]}, abs=1e-3)
        schema = running_service.client.get("/openapi.json").json()["components"]["schemas"]["Prediction"]
        assert "familiarity" in schema["properties"]
        assert "familiarity" not in schema["required"]
    with service(tiny_bundle) as running_service:
        assert "familiarity" not in running_service.client.post("/predict", **request).json()
