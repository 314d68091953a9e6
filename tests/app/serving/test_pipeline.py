"""The way of a request, from parts to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from app.errors import (
    InferenceFailed,
    InvalidOption,
    NothingToPredict,
    ServiceError,
    UnknownModel,
    UnknownTask,
)
from app.intake.pool import IntakePool
from app.serving.types import Answer, Options
from model.bundle import load_bundle
from model.predictor import Predictor
from tests.app.serving.bench import ALL, PATIENCE, ask, numbers, outcome, parts, picture, png, running, settle
from tests.support.tiny import make_tiny_bundle, tiny_config

T = TypeVar("T")
pytestmark = pytest.mark.anyio


async def test_an_answer_has_every_task_and_every_stage(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        answer = await bench.pipeline.predict({"text": "red shirt", "image": png(1)}, Options())
        assert (answer.model, answer.version) == ("tiny", "1")
        assert answer.modalities == ("image", "text")
        assert list(answer.predictions) == ["colour", "audience", "sporty", "price", "year"]
        assert list(answer.timings) == ["admit", "intake", "queue", "run", "answer"]
        assert all(seconds >= 0 for seconds in answer.timings.values())
        assert answer.batch_size == 1
        assert answer.truncated == ()
        cut = await bench.pipeline.predict({"text": "red " * 50}, Options())
        assert cut.truncated == ("text",)
        assert cut.modalities == ("text",)


class CountingPool(IntakePool):
    """A real pool that tells when it has prepared so many requests."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._count = 0
        self._more = asyncio.Condition()

    async def run(self, function: Callable[..., T], *args: object) -> T:
        result = await super().run(function, *args)
        async with self._more:
            self._count += 1
            self._more.notify_all()
        return result

    async def served(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE), self._more:
            await self._more.wait_for(lambda: self._count >= count)


async def test_sixty_four_clients_share_batches_and_each_gets_its_own_answer(tiny_bundle: Path) -> None:
    clients = 64
    pool = CountingPool(threads=2)
    async with running(tiny_bundle, pool, batch_sizes=(1, 2, 4, 8, 16, 32), max_queue=clients) as bench:
        alone = [numbers(await bench.pipeline.predict(parts(seed), ALL)) for seed in range(clients)]
        for first in range(clients):
            for second in range(first):
                same = alone[first].shape == alone[second].shape
                assert not same or np.abs(alone[first] - alone[second]).max() > 1e-3, "inputs cannot be told apart"
        bench.runtime.shut()
        calls = [ask(bench, seed) for seed in range(clients)]
        await pool.served(2 * clients)
        await settle()
        assert bench.value("queue_length") == clients - 1
        bench.runtime.gate.set()
        answers = [await outcome(call) for call in calls]
        sizes = [size for size, _ in bench.runtime.calls]
        assert sum(sizes) == clients
        assert clients / len(sizes) > 8, sizes
        for seed in range(clients):
            np.testing.assert_allclose(numbers(answers[seed]), alone[seed], atol=1e-5)
    pool.close()


async def test_the_answer_is_the_predictors(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    item = {"image": picture(3), "text": bundle.tokenizers["text"]("blue dress").ids}
    outputs = Predictor(bundle)([item])
    async with running(tiny_bundle) as bench:
        answer = await bench.pipeline.predict({"image": png(3), "text": "blue dress"}, ALL)
    expected = dict(zip(bundle.config.tasks["colour"].labels, outputs.probabilities["colour"][0], strict=True))
    for entry in answer.predictions["colour"]["top"]:
        assert entry["confidence"] == pytest.approx(float(expected[entry["label"]]), abs=1e-5)
    assert answer.predictions["price"]["value"] == pytest.approx(float(outputs.probabilities["price"][0, 0]), rel=1e-5)


async def test_only_the_heads_that_someone_asks_for_run(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        bench.runtime.shut()
        wanted = [("year",), ("price", "colour"), ("colour",)]
        calls = [ask(bench, 1, Options(tasks=tasks)) for tasks in wanted]
        await settle()
        bench.runtime.gate.set()
        answers = [await call for call in calls]
        assert bench.runtime.calls == [(1, ("year",)), (2, ("colour", "price"))]
        assert [tuple(answer.predictions) for answer in answers] == wanted
        await bench.pipeline.predict(parts(1), Options())
        assert bench.runtime.calls[-1] == (1, None)


@pytest.mark.parametrize(
    ("options", "error", "names"),
    [
        (Options(tasks=("color",)), UnknownTask, "colour, audience, sporty, price, year"),
        (Options(tasks=()), InvalidOption, "tasks"),
        (Options(top_k=0), InvalidOption, "1 to 100"),
        (Options(top_k=101), InvalidOption, "1 to 100"),
        (Options(coverage=0.0), InvalidOption, "between 0 and 1"),
        (Options(coverage=1.0), InvalidOption, "between 0 and 1"),
        (Options(coverage=float("nan")), InvalidOption, "between 0 and 1"),
    ],
)
async def test_a_wrong_option_is_refused_before_any_work(
    tiny_bundle: Path, options: Options, error: type[ServiceError], names: str
) -> None:
    async with running(tiny_bundle) as bench:
        bench.runtime.calls.clear()
        with pytest.raises(error, match=names):
            await bench.pipeline.predict({"image": b"never decoded"}, options)
        assert bench.runtime.calls == []
        assert bench.value("requests_total", outcome=error.code) == 1


async def test_what_intake_refuses_reaches_no_batch(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        bench.runtime.calls.clear()
        for wrong in ({}, {"text": "  "}):
            assert isinstance(await outcome(bench.pipeline.predict(wrong, ALL)), NothingToPredict)
        assert bench.runtime.calls == []
        assert bench.value("requests_total", outcome="nothing-to-predict") == 2
        assert bench.value("requests_in_flight") == 0


async def test_models_are_told_apart_and_do_not_share_batches(tiny_bundle: Path, tmp_path: Path) -> None:
    other = make_tiny_bundle(tmp_path / "other", seed=1, config=tiny_config(name="other"))
    async with running(tiny_bundle, bundles=(tiny_bundle, other)) as bench:
        assert bench.pipeline.registry.names() == ["tiny", "other"]
        alone = {name: numbers(await bench.pipeline.predict(parts(1), ALL, model=name)) for name in ("tiny", "other")}
        bench.runtime.shut()
        calls = [ask(bench, 1, model=name) for name in ("tiny", "tiny", "other", "tiny", "other")]
        await settle()
        bench.runtime.gate.set()
        answers = [await call for call in calls]
        assert [answer.batch_size for answer in answers] == [1, 2, 2, 2, 2]
        for answer in answers:
            np.testing.assert_allclose(numbers(answer), alone[answer.model], atol=1e-5)
        with pytest.raises(UnknownModel, match="tiny, other"):
            await bench.pipeline.predict(parts(1), ALL, model="third")


async def test_a_poisoned_item_fails_alone(tiny_bundle: Path) -> None:
    async with running(tiny_bundle) as bench:
        alone = [numbers(await bench.pipeline.predict(parts(seed), ALL)) for seed in range(5)]
        bench.runtime.shut()
        bench.runtime.poisoned = lambda item: (
            ValueError("poison") if "image" in item and (item["image"] == picture(2)).all() else None
        )
        calls = [ask(bench, seed) for seed in range(5)]
        await settle()
        bench.runtime.gate.set()
        answers = [await outcome(call) for call in calls]
        assert isinstance(answers[2], InferenceFailed)
        for seed in (0, 1, 3, 4):
            np.testing.assert_allclose(numbers(answers[seed]), alone[seed], atol=1e-5)
        # Down to the item itself; then one that is known to be good, to see whose fault it is.
        assert [size for size, _ in bench.runtime.calls] == [1, 4, 2, 1, 1, 1, 2]
        assert bench.pipeline.state == "ready"
        assert isinstance(await outcome(ask(bench, 2)), InferenceFailed)
        assert isinstance(await outcome(ask(bench, 1)), Answer)
