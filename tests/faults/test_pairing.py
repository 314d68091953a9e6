"""Every answer is that of its own request: many clients, inputs that their answers tell apart, faults in between."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from functools import partial

import orjson
import pytest

from tests.app.processes.service import Service, serving, until
from tests.faults.asking import Template, json, multipart, post
from tests.faults.crowd import Ask, Crowd, Judge, Leaving, Tally, expect
from tests.faults.known import APART, BUNDLE, WISHES, Known, Wish, make_inputs

pytestmark = pytest.mark.slow

LEAVE, BAD, AS_JSON = 0.06, 0.06, 0.2  # shares of the requests
# Nothing is refused for what a busy machine needs for it: each request is to be answered.
UNHURRIED = ("--precision", "fp32", "--max-in-flight", "160", "--max-wait", "60", "--deadline", "100")


@pytest.fixture(scope="module")
def known() -> Known:
    known = Known(BUNDLE, make_inputs(photos=18, texts=14))
    for wish in WISHES:
        assert known.apart(wish) > APART
    return known


class Asks:
    """Endless requests of a seed."""

    def __init__(self, known: Known, seed: int, *, unready: bool = False) -> None:
        """`unready`: whether 503 is an answer, too."""
        self._random = random.Random(seed)
        self._unready = unready
        self._good: list[tuple[Template, Template, Judge]] = []
        for wish in WISHES:
            for index, parts in enumerate(known.inputs):
                judge = partial(_judge, known, index, wish)
                self._good.append((multipart(parts, wish), json(parts, wish), judge))
        photo = known.inputs[0]["image"]
        assert isinstance(photo, bytes)
        self._bad = [
            (multipart({"image": photo[: len(photo) // 2]}), expect(422, "undecodable-image")),
            (multipart({"image": b"no picture"}), expect(415, "unsupported-format")),
            (multipart({"image": photo, "tasks": "weight"}), expect(422, "unknown-task")),
            (multipart({"text": " "}), expect(422, "nothing-to-predict")),
            (json({"image": photo, "txet": "shoe"}), expect(422, "unknown-part")),
            (post(b'{"text": ', "application/json"), expect(400, "malformed-request")),
            (post(b"text=shoe", "text/plain"), expect(415, "unsupported-media-type")),
        ]

    def __next__(self) -> Ask:
        draw = self._random
        kind = draw.random()
        if kind < BAD:
            template, judge = draw.choice(self._bad)
            return Ask(template, self._may_be_unready(judge))
        # Some inputs are asked for more often than others, so that twins meet.
        form, document, judge = self._good[int(len(self._good) * draw.random() ** 2)]
        leaving = None
        if kind < BAD + LEAVE:
            share = 1.0 if draw.random() < 0.7 else draw.random()
            leaving = Leaving(share, draw.uniform(0.0, 0.25), at_once=draw.random() < 0.5)
        return Ask(document if draw.random() < AS_JSON else form, self._may_be_unready(judge), leaving)

    def __iter__(self) -> Iterator[Ask]:
        return self

    def good(self) -> Ask:
        form, _, judge = self._good[0]
        return Ask(form, judge)

    def _may_be_unready(self, judge: Judge) -> Judge:
        return partial(_judge_of_unready, judge) if self._unready else judge


def _judge(known: Known, index: int, wish: Wish, request_id: str, status: int, body: bytes) -> str | None:
    if status != 200:
        return f"{request_id}: {status} {body[:300]!r}"
    return known.wrong(index, wish, request_id, orjson.loads(body))


def _judge_of_unready(judge: Judge, request_id: str, status: int, body: bytes) -> str | None:
    if status == 503:
        return expect(503, "engine-unavailable")(request_id, status, body)
    return judge(request_id, status, body)


def check_at_rest(service: Service, asks: Asks) -> dict[str, float]:
    """Nothing is left of the load, and the service still answers; its metrics."""
    gauges = ("trunkline_requests_in_flight", "trunkline_bytes_in_flight", "trunkline_queue_length")
    until(lambda: all(service.metrics()[gauge] == 0 for gauge in gauges))
    last = Crowd(service.url, iter([asks.good()]), clients=1).run()
    assert not last.complaints
    assert last.statuses == {200: 1}
    metrics = service.metrics()
    assert {gauge: metrics[gauge] for gauge in gauges} == dict.fromkeys(gauges, 0.0)
    assert "Traceback" not in "".join(service.log)
    return metrics


def check_counts(tally: Tally, metrics: dict[str, float]) -> None:
    """The service counted as many good answers as the clients, but for those that nobody waited for."""
    counted = metrics['trunkline_requests_total{outcome="ok"}'] - 1  # the last one, at rest
    assert tally.statuses[200] <= counted <= tally.statuses[200] + tally.left


@pytest.mark.parametrize("cache", ["0", "256KiB"], ids=["no cache", "small cache"])
@pytest.mark.parametrize("workers", ["1", "2"], ids=["1 process", "2 workers"])
def test_every_answer_is_that_of_its_request(
    known: Known, full_length: bool, workers: str, cache: str, record_property: Callable[[str, object], None]
) -> None:
    count = 100_000 if full_length else 4_000
    asks = Asks(known, seed=int(workers))
    with serving(BUNDLE, *UNHURRIED, "--workers", workers, "--cache-size", cache) as service:
        tally = Crowd(service.url, (next(asks) for _ in range(count))).run()
        metrics = check_at_rest(service, asks)
    record_property("requests", f"{count}, {tally.statuses[200]} answered, {tally.left} left")
    assert not tally.complaints
    assert tally.asked == count
    assert tally.statuses[200] > 0.8 * count
    assert tally.left > 0.02 * count
    check_counts(tally, metrics)
    results = {result: metrics[f'trunkline_cache_requests_total{{result="{result}"}}'] for result in ("hit", "joined")}
    if cache == "0":
        assert results == {"hit": 0, "joined": 0}
        assert metrics["trunkline_batch_size_sum"] > 2 * metrics["trunkline_batch_size_count"], "hardly any batches"
    else:
        assert min(results.values()) > 0
        assert metrics["trunkline_cache_evictions_total"] > 0


def test_no_answer_is_mixed_up_when_the_engine_is_killed(
    known: Known, full_length: bool, record_property: Callable[[str, object], None]
) -> None:
    kills, between = (30, 1000) if full_length else (3, 400)
    asks = Asks(known, seed=3, unready=True)
    over = threading.Event()
    with serving(BUNDLE, *UNHURRIED, "--workers", "2") as service:
        crowd = Crowd(service.url, iter(lambda: None if over.is_set() else next(asks), None))
        clients = threading.Thread(target=crowd.run)
        clients.start()
        try:
            for _ in range(kills):
                goal = crowd.tally.statuses[200] + between
                until(lambda goal=goal: crowd.tally.statuses[200] >= goal or bool(crowd.tally.complaints))
                dead = service.kill("engine")
                until(lambda dead=dead: service.pids().get("engine", dead) != dead)
                service.wait_ready()
            goal = crowd.tally.statuses[200] + between
            until(lambda: crowd.tally.statuses[200] >= goal or bool(crowd.tally.complaints))
        finally:
            over.set()
            clients.join()
        check_at_rest(service, asks)
    tally = crowd.tally
    record_property("kills", f"{kills}, {tally.statuses[200]} answered, {tally.statuses[503]} refused")
    assert not tally.complaints
    assert tally.statuses[200] > between * kills
    assert tally.statuses[503] > 0
