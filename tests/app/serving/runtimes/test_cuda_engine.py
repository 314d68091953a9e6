"""Batcher, dispatcher and engine in front of the CUDA runtime, on a stand-in device whose forwards a test holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.serving.backend import LocalBackend
from app.serving.dispatcher import Ran
from app.serving.registry import Served
from app.serving.runtimes.cuda import CudaRuntime
from app.serving.types import ServingConfig
from app.telemetry.metrics import Metrics
from model.bundle import load_bundle
from model.predictor import Predictor
from model.preprocess import Item
from tests.app.serving.bench import PATIENCE
from tests.model.making import item_of
from tests.support.standin import DOWNLOAD, RUN, UPLOAD, StandInDevice

SIZES = (1, 2, 4)


class House:
    """A backend on a stand-in device, and its bundle's own answers."""

    def __init__(self, path: Path) -> None:
        self.device = StandInDevice()
        self.metrics = Metrics()
        config = ServingConfig(bundles=(path,), batch_sizes=SIZES, max_queue=10_000)
        make_runtime = partial(CudaRuntime, batch_sizes=SIZES, device=self.device)
        self.backend = LocalBackend(config, self.metrics, make_runtime)
        self.bundle = load_bundle(path)
        self.predictor = Predictor(self.bundle)
        self.served: Served

    def draw(self, seed: int) -> Item:
        """An item with every modality, unlike that of any other seed."""
        return item_of(self.bundle.config, list(self.bundle.config.modalities), np.random.default_rng(seed))

    def tokens(self, kind: str) -> float:
        return self.metrics.registry.get_sample_value("trunkline_text_tokens_total", {"kind": kind}) or 0.0

    def ask(self, item: Item) -> asyncio.Task[Ran]:
        tasks = tuple(self.bundle.config.tasks)
        with self.backend.slot(self.served) as slot:
            return asyncio.create_task(self.backend.run(self.served, slot, item, tasks, float("inf")))

    async def until(self, kind: str, count: int) -> None:
        """Return when so many operations of a kind have run."""
        assert await asyncio.to_thread(self.device.wait_for, kind, count, PATIENCE), f"no {count} of {kind}"

    def counts(self) -> dict[str, int]:
        return {kind: len(self.device.busy(kind)) for kind in (UPLOAD, RUN, DOWNLOAD)}


@asynccontextmanager
async def house(path: Path) -> AsyncIterator[House]:
    made = House(path)
    made.served = await made.backend.load(path)
    made.device.spans.clear()
    made.device.counts.clear()
    try:
        yield made
    finally:
        made.device.go()
        assert await made.backend.stop(PATIENCE)


@pytest.mark.anyio
async def test_the_next_batch_is_on_the_device_while_one_runs_and_no_third_is(tiny_bundle: Path) -> None:
    async with house(tiny_bundle) as made:
        assert (made.served.device, made.served.runtime) == ("cuda", "torch")
        made.device.held = True
        # Texts of one length, so that padding keeps none from another's batch.
        items = [{**made.draw(seed), "text": np.arange(1, 6)} for seed in range(14)]
        asked = [made.ask(item) for item in items]
        # The first request is handed over at once, alone; behind it one more, which is as many; then no more.
        await made.until(UPLOAD, 2)
        assert made.counts() == {UPLOAD: 2, RUN: 0, DOWNLOAD: 0}
        assert made.backend.waiting == 12
        made.device.go()
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*asked)
        assert sorted(answer.batch_size for answer in answers) == [1] * 2 + [4] * 12
        assert made.counts() == {UPLOAD: 5, RUN: 5, DOWNLOAD: 5}
        # Not once did the host wait for anything but a batch's answers.
        assert made.device.counts["synchronize"] == 5
        assert made.device.counts["settle"] == 0


@pytest.mark.anyio
async def test_every_answer_is_that_of_its_own_request(tiny_bundle: Path) -> None:
    async with house(tiny_bundle) as made:
        made.device.shuffle(1)
        items = [made.draw(seed) for seed in range(60)]
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*[made.ask(item) for item in items])
        expected = made.predictor(items)
        for task, values in expected.probabilities.items():
            found = np.stack([answer.row.probabilities[task] for answer in answers])
            np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5, err_msg=task)


@pytest.mark.anyio
async def test_padding_is_counted_to_the_length_that_the_batch_ran_at(tiny_bundle: Path) -> None:
    async with house(tiny_bundle) as made:  # which pads to 4, 8 and 12
        for length in (3, 12):
            async with asyncio.timeout(PATIENCE):
                await made.ask({"text": np.arange(1, length + 1)})
        async with asyncio.timeout(PATIENCE):
            await made.ask({"image": np.zeros((16, 12, 3), np.uint8)})
        assert (made.tokens("read"), made.tokens("padding")) == (15, 1)


@pytest.mark.anyio
async def test_one_bad_item_fails_alone_and_leaves_no_place_taken(tiny_bundle: Path) -> None:
    async with house(tiny_bundle) as made:
        made.device.held = True
        items = [made.draw(seed) for seed in range(9)]
        items[3] = {"image": np.zeros((3, 3, 3), np.uint8)}
        asked = [made.ask(item) for item in items]
        await made.until(UPLOAD, 1)
        made.device.go()
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(answer, Ran) for answer in answers] == [seed != 3 for seed in range(9)]
        async with asyncio.timeout(PATIENCE):
            again = await asyncio.gather(*[made.ask(item) for item in (items[:3] + items[4:]) * 3])
        assert len(again) == 24
