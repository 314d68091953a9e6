"""Explanations through the pipeline: contributions of modalities, weights of parts, and room for the others."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.errors import DeadlineExceeded, InferenceFailed, InvalidOption, QueueFull
from app.serving.erasing import at_once
from app.serving.explanations import explainable
from app.serving.types import Answer, Options
from model.calibration import uncalibrated
from model.erasure import grid_of, hidden, mean_colour, windows_of, without, words_of
from model.preprocess import Item
from tests.app.serving.bench import ALL, Bench, ask, numbers, outcome, picture, png, running, settle
from tests.app.serving.remote.setup import house
from tests.support.tiny import tiny_config

pytestmark = pytest.mark.anyio

EXPLAINED, FULL = Options(top_k=100, explain=True), Options(top_k=100, explain="full")
TITLE = "Red  shirt, for MEN"
BOTH: dict[str, bytes | str] = {"image": png(1), "text": TITLE}


@pytest.fixture
async def bench(tiny_bundle: Path) -> AsyncIterator[Bench]:
    async with running(tiny_bundle) as made:
        yield made


def said(prediction: dict[str, Any]) -> Any:
    """What is explained: a number, or a number a label."""
    return prediction.get("confidences") or prediction.get("confidence") or prediction["value"]


def quantity(prediction: dict[str, Any], of: dict[str, Any]) -> Any:
    """In another answer, the quantity that `of` is about."""
    if prediction["kind"] == "multiclass":
        return {entry["label"]: entry["confidence"] for entry in prediction["top"]}[of["label"]]
    if prediction["kind"] == "binary":
        return prediction["confidence"] if prediction["label"] == of["label"] else 1 - prediction["confidence"]
    return said(prediction)


async def test_base_and_contributions_sum_to_every_answer(bench: Bench) -> None:
    for parts in (BOTH, {"image": png(2)}, {"text": "red"}):
        answer = await bench.pipeline.predict(parts, EXPLAINED)
        for name, prediction in answer.predictions.items():
            told = prediction["explanation"]
            scale = 5.0 if name == "price" else 1.0
            if prediction["kind"] == "multilabel":
                assert list(told["base"]) == list(told["shapley"]) == ["kids", "men", "women"]
                for label, confidence in prediction["confidences"].items():
                    assert list(told["shapley"][label]) == list(parts)
                    assert told["base"][label] + sum(told["shapley"][label].values()) == pytest.approx(
                        confidence, abs=3e-6
                    )
            else:
                assert list(told["shapley"]) == list(parts)
                whole = told["base"] + sum(told["shapley"].values())
                assert whole == pytest.approx(said(prediction), abs=3e-6 * scale)


async def test_a_coalition_is_worth_what_the_service_answers_to_it(bench: Bench) -> None:
    both, photo, title = [
        (await bench.pipeline.predict(parts, EXPLAINED)).predictions
        for parts in (BOTH, {"image": BOTH["image"]}, {"text": BOTH["text"]})
    ]
    await bench.pipeline.predict(BOTH, Options(tasks=("colour",), explain=True))
    for name in ("colour", "sporty", "price"):
        told = both[name]["explanation"]
        alone = [quantity(other[name], both[name]) for other in (photo, title)]
        expected = ((alone[0] - told["base"]) + (said(both[name]) - alone[1])) / 2
        assert told["shapley"]["image"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert [call for call in bench.runtime.calls if call[1]] == [(1, ("colour",))], "one forward: the encoders run once"


async def test_explained_and_plain_requests_share_a_batch_and_plain_answers_stay(bench: Bench) -> None:
    plain = [numbers(await ask(bench, seed)) for seed in (1, 2, 4)]
    bench.runtime.shut()
    first = ask(bench, 0)
    await bench.runtime.entered()
    waiting = [ask(bench, 1), ask(bench, 2), ask(bench, 4), ask(bench, 6, EXPLAINED)]
    await settle()
    bench.runtime.gate.set()
    answers = await asyncio.gather(*waiting)
    assert [answer.batch_size for answer in answers] == [4] * 4
    for found, expected in zip(answers, plain, strict=False):
        np.testing.assert_allclose(numbers(found), expected, atol=2e-5)
    assert "shapley" in answers[3].predictions["price"]["explanation"]
    await first


async def test_an_item_that_fails_takes_no_explanation_with_it(bench: Bench) -> None:
    expected = await ask(bench, 1, EXPLAINED)
    bad = picture(2)
    bench.runtime.poisoned = lambda item: ValueError() if np.array_equal(item.get("image", 0), bad) else None
    bench.runtime.shut()
    first = ask(bench, 0)
    await bench.runtime.entered()
    waiting = [ask(bench, 2, EXPLAINED), ask(bench, 1, EXPLAINED)]
    await settle()
    bench.runtime.gate.set()
    failed, answered = [await outcome(task) for task in waiting]
    assert isinstance(failed, InferenceFailed)
    assert isinstance(answered, Answer)
    np.testing.assert_allclose(numbers(answered), numbers(expected), atol=2e-5)
    await first


async def test_without_priors_there_are_no_contributions(bench: Bench) -> None:
    bench.pipeline.registry.default().bundle.calibration.priors.clear()
    bench.runtime.calls.clear()
    for options in (EXPLAINED, FULL):
        for prediction in (await bench.pipeline.predict(BOTH, options)).predictions.values():
            assert set(prediction["explanation"]) == {"alpha", "beta", "relation"}
    assert len(bench.runtime.calls) == 2


def test_of_too_many_modalities_no_contributions_are_told() -> None:
    calibration = uncalibrated(tiny_config())
    assert not explainable(["colour"], 2, calibration)
    calibration.priors["year"] = [0.25] * 4
    assert not explainable(["colour"], 2, calibration)
    assert explainable(["colour", "year"], 6, calibration)
    assert not explainable(["colour", "year"], 7, calibration)


async def full(bench: Bench, parts: dict[str, bytes | str]) -> dict[str, dict[str, Any]]:
    return (await bench.pipeline.predict(parts, FULL)).predictions


async def test_a_part_weighs_what_its_modality_loses_without_it(bench: Bench) -> None:
    whole = await full(bench, BOTH)
    grid = grid_of(bench.pipeline.registry.default().bundle.config.modalities["image"])  # type: ignore[arg-type]
    told = whole["price"]["explanation"]
    words = words_of(TITLE)
    assert [entry["word"] for entry in told["parts"]["text"]] == ["Red", "shirt,", "for", "MEN"]
    for number in range(4):
        less = await bench.pipeline.predict({**BOTH, "text": without(TITLE, [words[number]])}, EXPLAINED)
        lost = told["shapley"]["text"] - less.predictions["price"]["explanation"]["shapley"]["text"]
        assert told["parts"]["text"][number]["weight"] == pytest.approx(lost, abs=1e-4)
    heat = told["parts"]["image"]
    assert (len(heat), {len(row) for row in heat}) == (grid.rows, {grid.columns})
    colour = mean_colour(picture(1))
    for cell in (0, len(grid) // 2 + 2):
        lost = []
        for cells in windows_of(grid):
            if cell in cells:
                buffer = io.BytesIO()
                Image.fromarray(hidden(picture(1), grid, cells, colour)).save(buffer, "PNG")
                less = await bench.pipeline.predict({**BOTH, "image": buffer.getvalue()}, EXPLAINED)
                lost.append(told["shapley"]["image"] - less.predictions["price"]["explanation"]["shapley"]["image"])
        assert len(lost) == (1 if cell == 0 else 4)
        assert heat[cell // grid.columns][cell % grid.columns] == pytest.approx(np.mean(lost), abs=1e-4)
    assert set(whole["audience"]["explanation"]["parts"]) == {"kids", "men", "women"}
    assert set(whole["audience"]["explanation"]["parts"]["men"]) == {"image", "text"}


@pytest.mark.parametrize("parts", [{"text": "Red"}, {"image": png(1), "text": "Red"}])
async def test_the_only_word_has_all_that_the_text_gave(bench: Bench, parts: dict[str, bytes | str]) -> None:
    for name, prediction in (await full(bench, parts)).items():
        told = prediction["explanation"]
        if name != "audience":
            assert told["parts"]["text"] == [{"word": "Red", "weight": told["shapley"]["text"]}]


async def test_what_is_not_read_of_a_text_has_no_weight(bench: Bench) -> None:
    told = (await full(bench, {"text": "red shirt " * 50}))["year"]["explanation"]
    assert len(told["parts"]["text"]) == 11


async def test_an_engine_in_another_process_gives_the_same(tiny_bundle: Path, bench: Bench) -> None:
    expected = await full(bench, BOTH)
    async with house(tiny_bundle, max_in_flight=1) as remote:
        assert (await remote.pipelines[0].predict(BOTH, FULL)).predictions == expected
        await remote.until(lambda: not any(backend.slots_taken for backend in remote.backends))


async def test_few_items_of_an_explanation_run_at_a_time_and_requests_come_before_them(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, batch_sizes=(1, 8)) as bench:
        assert at_once((1, 8)) == 2
        whole = picture(1)
        bench.runtime.shuts_at = lambda items: any(
            "image" in item and not np.array_equal(item["image"], whole) for item in items
        )
        explaining = ask(bench, 1, FULL)
        assert await asyncio.to_thread(bench.runtime.stands.wait, 20)
        await settle()
        bench.runtime.shuts_at = lambda items: False
        backend = bench.pipeline._backend
        assert backend is not None
        assert backend.waiting == 1, "one runs and one waits"
        plain = ask(bench, 5)  # a photo alone
        await settle()
        bench.runtime.gate.set()
        await plain
        assert not explaining.done()
        assert "parts" in (await explaining).predictions["year"]["explanation"]


async def test_more_full_explanations_than_may_be_are_refused_and_others_go_on(bench: Bench) -> None:
    bench.runtime.shut()
    under_way = [ask(bench, seed, FULL) for seed in (1, 2)]
    await bench.runtime.entered()
    refused = await outcome(ask(bench, 4, FULL))
    assert isinstance(refused, QueueFull)
    assert refused.retry_after
    assert "explain=true" in refused.detail
    plain = ask(bench, 4, EXPLAINED)
    bench.runtime.gate.set()
    await asyncio.gather(plain, *under_way)
    await ask(bench, 4, FULL)


async def test_a_service_may_give_no_full_explanations(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, max_explanations=0) as bench:
        refused = await outcome(ask(bench, 1, FULL))
        assert isinstance(refused, InvalidOption)
        assert "explain=true" in refused.detail
        await ask(bench, 1, EXPLAINED)


async def test_an_explanation_that_fails_or_is_late_leaves_nothing_behind(bench: Bench) -> None:
    whole = picture(1)

    def other(item: Item) -> bool:
        return "image" in item and not np.array_equal(item["image"], whole)

    def half_hidden(item: Item) -> bool:
        return other(item) and bool((item["image"][0, 0] != whole[0, 0]).any()) and item["image"][0, 0, 0] != 128

    bench.runtime.poisoned = lambda item: ValueError() if half_hidden(item) else None
    assert isinstance(await outcome(ask(bench, 1, FULL)), InferenceFailed)
    bench.runtime.poisoned = lambda item: None
    bench.runtime.shuts_at = lambda items: any(other(item) for item in items)
    late = await outcome(bench.pipeline.predict(BOTH, FULL, deadline=asyncio.get_running_loop().time() + 0.3))
    assert isinstance(late, DeadlineExceeded)
    bench.runtime.shuts_at = lambda items: False
    bench.runtime.gate.set()
    assert bench.value("requests_in_flight") == 0
    await asyncio.gather(ask(bench, 1, FULL), ask(bench, 2, FULL))


async def test_the_cache_tells_them_apart(tiny_bundle: Path) -> None:
    async with running(tiny_bundle, cache_bytes=1 << 20) as bench:
        kinds = [
            (await bench.pipeline.predict(BOTH, options)).predictions["year"] for options in (ALL, EXPLAINED, FULL)
        ]
        again = [
            (await bench.pipeline.predict(BOTH, options)).predictions["year"] for options in (ALL, EXPLAINED, FULL)
        ]
        assert kinds == again
        assert [sorted(kind.get("explanation", {}))[-2:] for kind in kinds] == [
            [],
            ["relation", "shapley"],
            ["relation", "shapley"],
        ]
        assert ["parts" in kind.get("explanation", {}) for kind in kinds] == [False, False, True]
