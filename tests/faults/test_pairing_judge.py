"""What judges the answers of the long runs: it finds the wrong one, and the one that never comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from itertools import permutations
from typing import Any

import pytest

from app.intake import Limits, prepare
from app.serving.answers import shape
from app.serving.runtimes.torch import TorchRuntime
from app.serving.splitting import Batch, Row, Run
from app.serving.types import Options
from model.bundle import load_bundle
from tests.benchmarks.support import Asked, response, serving
from tests.faults import crowd as module
from tests.faults.asking import multipart
from tests.faults.crowd import Ask, Crowd, Judge, Leaving
from tests.faults.known import APART, BUNDLE, WISHES, Known, Wish, make_inputs

Answers = Callable[[int, Wish], dict[str, Any]]


@pytest.fixture(scope="module")
def known() -> Known:
    return Known(BUNDLE, make_inputs(photos=2, texts=2))


@pytest.fixture(scope="module")
def answers(known: Known) -> Answers:
    """What the service would answer to an input, from all of them in one batch."""
    bundle = load_bundle(BUNDLE)
    items = [prepare(parts, bundle.config, bundle.tokenizers, Limits()).item for parts in known.inputs]
    batch = Batch(
        TorchRuntime(bundle),
        items,
        None,
        hierarchies=bundle.hierarchies,
        modalities=tuple(bundle.config.modalities),
        explained=[True] * len(items),
    )
    rows = Run(batch, nullcontext()).results()

    def answer(index: int, wish: Wish) -> dict[str, Any]:
        tasks = wish.tasks or tuple(bundle.config.tasks)
        row = rows[index]
        assert isinstance(row, Row)
        modalities = tuple(items[index])
        options = Options(wish.tasks or None, wish.top_k, explain=wish.explain)
        shaped = shape(row, tasks, modalities, options, bundle.config, bundle.calibration, bundle.relation_weights())
        return {"request_id": "one", "modalities": list(modalities), "predictions": shaped}

    return answer


@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_each_answer_is_right_for_its_own_input_and_wrong_for_any_other(
    known: Known, answers: Answers, wish: Wish
) -> None:
    assert known.apart(wish) > APART
    for index in range(len(known.inputs)):
        assert known.wrong(index, wish, "one", answers(index, wish)) is None
    for index, other in permutations(range(len(known.inputs)), 2):
        assert known.wrong(index, wish, "one", answers(other, wish)) is not None


def test_the_answer_to_another_wish_or_another_request_is_wrong(known: Known, answers: Answers) -> None:
    for wish, other in permutations(WISHES, 2):
        assert known.wrong(0, wish, "one", answers(0, other)) is not None
    assert "two" in (known.wrong(0, WISHES[0], "two", answers(0, WISHES[0])) or "")


def test_nothing_but_their_content_tells_the_inputs_apart(known: Known) -> None:
    both = known.inputs[:4]
    assert {(tuple(parts), *map(len, parts.values())) for parts in both} == {
        (("image", "text"), *map(len, both[0].values()))
    }
    assert len({tuple(parts.values()) for parts in both}) == 4


def test_inputs_that_nothing_tells_apart_are_noticed() -> None:
    twice = make_inputs(photos=1, texts=1)[:1] * 2
    assert Known(BUNDLE, twice).apart(Wish()) == 0


def asks(count: int, leaving: Leaving | None = None) -> list[Ask]:
    """Each is to be answered with its own text."""

    def judge(text: str) -> Judge:
        return lambda request_id, status, body: None if body == text.encode() else f"{status} {body!r}, not {text}"

    return [Ask(multipart({"text": text}), judge(text), leaving) for text in (f"text {n}" for n in range(count))]


async def echo(asked: Asked) -> bytes:
    await asyncio.sleep(0)
    return response(body=asked.title.encode())


def run(port: int, asked: list[Ask], clients: int = 4) -> module.Tally:
    return Crowd(f"http://127.0.0.1:{port}", iter(asked), clients).run()


def test_clients_that_are_answered_rightly_have_nothing_to_say() -> None:
    with serving(echo) as server:
        tally = run(server.port, asks(40))
    assert tally == module.Tally({200: 40})
    assert server.connections == 4
    ids = {asked.body for asked in server.asked}
    assert len(ids) == tally.asked == 40


def test_two_answers_that_are_swapped_are_found() -> None:
    earlier: list[bytes] = []

    async def swap(asked: Asked) -> bytes:
        earlier.append(response(body=asked.title.encode()))
        return earlier[-2] if asked.title == "text 7" else earlier[-1]

    with serving(swap) as server:
        tally = run(server.port, asks(20), clients=1)
    assert tally.complaints == ["200 b'text 6', not text 7"]


def test_a_connection_that_is_cut_is_no_answer() -> None:
    async def cut(asked: Asked) -> bytes | None:
        return None if asked.title == "text 3" else await echo(asked)

    with serving(cut) as server:
        tally = run(server.port, asks(6))
    assert tally.statuses == {200: 5, 0: 1}
    assert tally.complaints == ["0 b'', not text 3"]


def test_a_request_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    async def hang(asked: Asked) -> bytes:
        await asyncio.sleep(60 if asked.title == "text 2" else 0)
        return await echo(asked)

    with serving(hang) as server:
        tally = run(server.port, asks(5))
    assert tally.statuses == {200: 4}
    assert len(tally.complaints) == 1
    assert "no answer" in tally.complaints[0]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("share", "heard"), [(0.5, 0), (1.0, 3)])
def test_clients_that_leave_are_counted_and_are_gone(share: float, heard: int, at_once: bool) -> None:
    async def never(asked: Asked) -> bytes:
        await asyncio.sleep(60)
        return await echo(asked)

    with serving(never) as server:
        tally = run(server.port, asks(3, Leaving(share, 0.05, at_once)))
        assert tally == module.Tally(left=3)
        assert len(server.asked) == heard


def test_one_that_is_answered_before_it_leaves_is_judged_as_any_other() -> None:
    with serving(echo) as server:
        tally = run(server.port, asks(3, Leaving(1.0, 60.0, at_once=True)))
    assert tally == module.Tally({200: 3})
