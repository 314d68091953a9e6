"""Each hostile request ends in a refusal that says what to do, in bounded memory, and the next good one is answered."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from app.api.problems import KINDS
from tests.app.intake.pictures import file
from tests.app.processes.service import Service
from tests.hostile.corpus import cases
from tests.hostile.memory import Peak
from tests.hostile.wire import Answer, ask, picture, text

CASES = cases()
MEGABYTE = 1 << 20
# The largest upload is 38 MB of JSON; while it is parsed it is held as it came, as one, and as a string.
MOST_MEMORY = 224 * MEGABYTE


def address(service: Service) -> tuple[str, int]:
    host, _, port = service.url.removeprefix("http://").rpartition(":")
    return host, int(port)


def explained(answer: Answer) -> str:
    """The detail of a refusal; fails where it is no complete problem document of the list."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = json.loads(answer.body)
    assert set(body) == {"type", "title", "status", "detail", "request_id"}
    assert body["status"] == answer.status
    code = body["type"].removeprefix("urn:trunkline:problem:")
    assert (answer.status, code) in {(kind.status, error.code) for error, kind in KINDS.items()}
    assert body["request_id"] == answer.headers["x-request-id"]
    assert len(answer.body) < 1000, "a refusal repeats what was sent"
    return body["detail"]


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_request_is_refused_with_what_to_do_and_the_next_good_one_is_answered(
    service: Service, peak: Peak, name: str
) -> None:
    case = CASES[name]
    request = case.make()
    peak.forget()
    answer = ask(address(service), request, case.half)
    assert answer.status in case.statuses, answer.body[:500]
    if answer.status != 200:
        assert case.says in explained(answer)
    grown = peak.grown()
    assert grown < MOST_MEMORY, f"{grown / MEGABYTE:.0f} MB"
    assert ask(address(service), text("red shirt")).status == 200


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGBA", "PNG"),
        ("RGB", "JPEG"),
        *(pytest.param(*more, marks=pytest.mark.slow) for more in [("RGB", "PNG"), ("I;16", "PNG"), ("P", "GIF")]),
    ],
)
def test_a_picture_at_the_limit_of_pixels_takes_nine_bytes_a_pixel(
    service: Service, peak: Peak, mode: str, kind: str
) -> None:
    request = picture(file(Image.new(mode, (7000, 7000)), kind))
    peak.forget()
    assert ask(address(service), request).status == 200
    grown = peak.grown()
    assert grown < 9 * 7000 * 7000 + 96 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB"


def test_memory_is_measured_where_it_is_taken(service: Service, peak: Peak) -> None:
    peak.forget()
    assert ask(address(service), picture(file(Image.new("RGB", (4000, 4000)), "PNG"))).status == 200
    assert peak.grown() > 2 * 4000 * 4000


@pytest.mark.parametrize(("one", "other"), [("café", "cafe\u0301"), ("ｒｅｄ", "red"), ("red  shirt\0", "red shirt")])
def test_a_text_in_another_form_gets_the_same_answer(service: Service, one: str, other: str) -> None:
    first, second = (json.loads(ask(address(service), text(form)).body)["predictions"] for form in (one, other))
    assert first == second


def test_afterwards_nothing_is_held(service: Service) -> None:
    with service.client() as client:
        lines = client.get("/metrics").text.splitlines()
    for gauge in ("trunkline_requests_in_flight", "trunkline_bytes_in_flight", "trunkline_queue_length"):
        assert [line.split()[1] for line in lines if line.startswith(f"{gauge} ")] == ["0.0"]
