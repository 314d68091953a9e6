"""The answers of one request never contradict one another where the config declares a hierarchy."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.serving.answers import shape
from app.serving.runtime import Later, Pending
from app.serving.splitting import Batch, Row, Run
from app.serving.types import Options
from model.calibration import COVERAGES, uncalibrated
from model.config import Config
from model.hierarchy import Hierarchies
from model.outputs import Outputs
from model.preprocess import Item
from tests.app.serving.bench import ask, outcome, running
from tests.support.hierarchy import CHAIN, contradictions, drawn_answers, forests, shop_config
from tests.support.tiny import make_tiny_bundle

BOTH = ("image", "text")


class Drawn:
    """A runtime that answers the heads that it is asked for, each as if it knew of no other."""

    name, device, precision, in_flight = "drawn", "cpu", "fp32", 1
    lengths: tuple[int, ...] = ()

    def __init__(self, answers: dict[str, np.ndarray]) -> None:
        self.answers = answers

    def start(self, items: Sequence[Item], tasks: Sequence[str] | None = None, narrowed: Any = None) -> Pending:
        probabilities = {name: self.answers[name][: len(items)] for name in tasks or self.answers}
        return Later(lambda: Outputs(probabilities, np.full((len(items), 2), 0.5, np.float32)))


def predictions(config: Config, drawn: Drawn, rows: int, options: Options) -> list[dict[str, dict[str, Any]]]:
    """What each request of a batch is told that asks for these tasks."""
    tasks = options.tasks or tuple(config.tasks)
    hierarchies = Hierarchies(config)
    batch = Batch(drawn, [{}] * rows, hierarchies.needed(tasks), None, hierarchies)
    calibration = uncalibrated(config)
    for entries in calibration.patterns.values():
        for entry in entries.values():
            entry.thresholds = [round(1 - (1 - coverage) ** 2, 4) for coverage in COVERAGES]
    results = Run(batch, nullcontext()).results()
    told = []
    for row in results:
        assert isinstance(row, Row)
        told.append(shape(row, tasks, BOTH, options, config, calibration, {name: {} for name in tasks}))
    return told


@given(forests(), st.integers(0, 2**32 - 1), st.data())
def test_whatever_the_network_says_and_whatever_is_asked(config: Config, seed: int, data: st.DataObject) -> None:
    drawn = Drawn(drawn_answers(config, 4, seed))
    asked = data.draw(st.lists(st.sampled_from(list(config.tasks)), min_size=1, unique=True))
    options = Options(
        tuple(asked),
        top_k=data.draw(st.sampled_from([1, 3, 100])),
        coverage=data.draw(st.none() | st.floats(0.01, 0.99)),
    )
    part = predictions(config, drawn, 4, options)
    whole = predictions(config, drawn, 4, Options(None, options.top_k, options.coverage))
    for some, every in zip(part, whole, strict=True):
        assert some == {name: every[name] for name in asked}, "asking for less changes no answer"
        assert not contradictions(config, {name: answer["label"] for name, answer in every.items()})
        for answer in every.values():
            listed = [entry["confidence"] for entry in answer["top"]]
            assert listed == sorted(listed, reverse=True)
            assert sum(listed) <= 1 + 1e-5
            assert answer["top"][0] == {"label": answer["label"], "confidence": answer["confidence"]}
            assert answer["label"] in answer.get("set", [answer["label"]]), (
                "the sets of a request have a path in common"
            )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "shop", config=shop_config())


@pytest.mark.anyio
async def test_of_a_network_that_contradicts_itself(shop: Path) -> None:
    config = shop_config()
    async with running(shop) as bench:
        raw = bench.pipeline.registry.default().bundle
        assert raw.golden, "recorded from the network, and checked before the hierarchy comes in"
        for seed in range(12):
            answer = await outcome(ask(bench, seed))
            assert not isinstance(answer, Exception)
            labels = {name: told["label"] for name, told in answer.predictions.items() if name in CHAIN}
            assert not contradictions(config, labels)


@pytest.mark.anyio
async def test_one_task_of_a_hierarchy_needs_the_others_and_answers_as_beside_them(shop: Path) -> None:
    async with running(shop) as bench:
        whole = await outcome(ask(bench, 1, Options()))
        assert not isinstance(whole, Exception)
        for name in ("section", "article", "kind", "colour"):
            bench.runtime.calls.clear()
            alone = await outcome(ask(bench, 1, Options(tasks=(name,))))
            assert not isinstance(alone, Exception)
            assert alone.predictions.keys() == {name}
            assert alone.predictions[name]["label"] == whole.predictions[name]["label"]
            assert alone.predictions[name]["confidence"] == pytest.approx(
                whole.predictions[name]["confidence"], abs=1e-5
            )
            heads = ("colour",) if name == "colour" else ("section", "article", "kind")
            assert bench.runtime.calls == [(1, heads)]
