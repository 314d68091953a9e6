"""A service that has answered for long holds no more than one that has answered for a while."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.app.processes.service import Service, serving, until
from tests.faults.asking import ID_TEXT, Template, get, json, multipart, post
from tests.faults.crowd import Ask, Crowd, Judge, Leaving, expect
from tests.faults.footprint import Footprint, connections, footprint
from tests.faults.known import BUNDLE, Wish, small_photos
from tests.support.tiny import WORDS

pytestmark = pytest.mark.slow

TENTHS = 10
GROWTH = 0.05  # of memory, after the first tenth
LEAVE = 0.06  # share of the clients that go away
PAGES = ("/", "/docs", "/openapi.json", "/models", "/models/fashion", "/health/ready", "/health/live", "/metrics")
# A cache that is full after the first tenth, as it would be after a day; nothing is refused on a busy machine.
SETTINGS = ("--cache-size", "1MiB", "--max-wait", "60", "--deadline", "100")


class Asks:
    """Endless requests of a seed, of every kind; where a text is in it, no two the same."""

    def __init__(self, seed: int) -> None:
        self._random = draw = random.Random(seed)
        texts = [" ".join(draw.choices(WORDS, k=draw.choice((1, 3, 8, 20, 45)))) for _ in range(40)]
        texts = [f"{text} {ID_TEXT}" for text in [*texts, "Ω≈ç√ 靴 👟 " * 300]]
        photos = [*small_photos(24), *small_photos(8, (800, 1000))]
        photos += [photo for kind in ("PNG", "WEBP", "GIF", "BMP") for photo in small_photos(4, (200, 200), kind)]
        wishes = (
            Wish(),
            Wish(explain=True),
            Wish(top_k=40),
            Wish(tasks=("articleType",)),
            Wish(tasks=("year", "season")),
        )

        def good() -> Template:
            kinds = draw.choice((("image",), ("text",), ("image", "text"), ("image", "text")))
            parts = {"image": draw.choice(photos), "text": draw.choice(texts)}
            make = draw.choice((multipart, multipart, json))
            return make({name: parts[name] for name in kinds}, draw.choice(wishes))

        photo = photos[-20]
        bad: list[tuple[Template, Judge]] = [
            (multipart({"image": photo[: len(photo) // 2]}), expect(422, "undecodable-image")),
            (multipart({"image": b"no picture"}), expect(415, "unsupported-format")),
            (multipart({"text": ""}), expect(422, "nothing-to-predict")),
            (multipart({"text": "shoe", "top_k": "many"}), expect(422, "invalid-option")),
            (multipart({"text": "shoe", "model": "nobody"}), expect(404, "unknown-model")),
            (json({"image": "https://example.com/shoe.jpg"}), expect(422, "undecodable-image")),
            (json({"text": "shoe", "tasks": "weight"}), expect(422, "unknown-task")),
            (post(b"\0" * 50_000, "application/json"), expect(400, "malformed-request")),
            (post(b"--x\r\n\r\n", "multipart/form-data; boundary=y"), expect(400, "malformed-request")),
            (post(b"", "text/plain"), expect(415, "unsupported-media-type")),
            (get("/nowhere"), expect(404, "not-found")),
            (get("/predict"), expect(405, "method-not-allowed")),
        ]
        # Kinds of requests with their shares.
        self._kinds: list[Sequence[tuple[Template, Judge]]] = [
            [(good(), expect(200)) for _ in range(600)],
            bad,
            [(get(path), expect(200)) for path in PAGES],
        ]
        self._shares = (0.84, 0.08, 0.08)

    def __next__(self) -> Ask:
        draw = self._random
        (kind,) = draw.choices(self._kinds, self._shares)
        template, judge = draw.choice(kind)
        leaving = None
        if draw.random() < LEAVE:
            leaving = Leaving(draw.choice((1.0, draw.random())), draw.uniform(0.0, 0.2), at_once=draw.random() < 0.5)
        return Ask(template, judge, leaving)

    def __iter__(self) -> Iterator[Ask]:
        return self


def at_rest(service: Service) -> Footprint:
    """What the service holds when nobody asks and every connection is closed."""
    gauges = ("trunkline_requests_in_flight", "trunkline_bytes_in_flight", "trunkline_queue_length")
    until(lambda: all(service.metrics()[gauge] == 0 for gauge in gauges))
    until(lambda: connections(service) == 0)
    return footprint(service)


@pytest.mark.parametrize("workers", ["1", "2"], ids=["1 process", "2 workers"])
def test_nothing_grows_under_mixed_requests(
    full_length: bool, workers: str, record_property: Callable[[str, object], None]
) -> None:
    count = 200_000 if full_length else 8_000
    asks = Asks(seed=int(workers))
    held: list[Footprint] = []
    with serving(BUNDLE, *SETTINGS, "--workers", workers) as service:
        for _ in range(TENTHS):
            tally = Crowd(service.url, (next(asks) for _ in range(count // TENTHS))).run()
            assert not tally.complaints
            held.append(at_rest(service))
        assert "Traceback" not in "".join(service.log)
    first, last = held[0], held[-1]
    growth = last.memory / first.memory - 1
    record_property("requests", count)
    record_property("memory", f"{' '.join(f'{each.memory / 1e6:.0f}' for each in held)} MB ({growth:+.1%})")
    record_property("descriptors", f"{first.descriptors} to {last.descriptors}")
    record_property("threads", f"{first.threads} to {last.threads}")
    assert {each.pids for each in held} == {first.pids}, "a process ended"
    assert last.descriptors <= first.descriptors
    assert last.threads <= first.threads
    assert growth < GROWTH, [each.memory for each in held]
