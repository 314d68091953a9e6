"""One bad item, one late one, one that nobody waits for: none of them costs its neighbours an answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.serving.runtimes.cuda import CudaRuntime
from model.bundle import Bundle
from model.preprocess import Item
from tests.app.api.harness import Service, is_problem, running
from tests.app.serving.bench import PATIENCE, png
from tests.faults.signs import COLLATE, POISON, Hurt, signed
from tests.support.standin import StandInDevice

ALL_AT_ONCE = {"max_in_flight": 64, "max_queue": 64, "cache_size": 0}


class Asked:
    """Requests that are asked at a time, each on a connection of its own."""

    def __init__(self, service: Service, pictures: Sequence[bytes], headers: Sequence[dict[str, str]] = ()) -> None:
        self._service = service
        self.answers: list[httpx.Response | None] = [None] * len(pictures)
        given = [*headers, *[{}] * (len(pictures) - len(headers))]
        self._threads = [
            threading.Thread(target=self._ask, args=(number, picture, header))
            for number, (picture, header) in enumerate(zip(pictures, given, strict=True))
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int, picture: bytes, headers: dict[str, str]) -> None:
        with httpx.Client(base_url=self._service.url, timeout=PATIENCE, trust_env=False) as client:
            files = {"image": ("photo.png", picture), "text": (None, "red")}
            self.answers[number] = client.post("/predict", files=files, headers=headers)

    def all(self) -> list[httpx.Response]:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a request hangs"
        return [answer for answer in self.answers if answer is not None]


def hold(service: Service) -> Asked:
    """Let the engine be busy with one request, so that what comes next waits."""
    service.runtime.shut()
    first = Asked(service, [png(0)])
    service.wait_forward()
    return first


def hurt(service: Service) -> None:
    """Signs in pictures are heeded from now on; the gate stays in front."""
    service.runtime._inner = Hurt(service.runtime._inner)  # type: ignore[assignment]


@pytest.mark.parametrize("sign", [POISON, COLLATE])
def test_an_item_that_breaks_forward_or_collation_fails_alone(tiny: Path, sign: int) -> None:
    with running(tiny, **ALL_AT_ONCE) as service:
        hurt(service)
        first = hold(service)
        pictures = [signed(sign) if number in (2, 5) else png(number) for number in range(8)]
        rest = Asked(service, pictures)
        service.wait_value(8, "queue_length")
        service.runtime.gate.set()
        assert first.all()[0].status_code == 200
        answers = rest.all()
        assert [answer.status_code for answer in answers] == [500 if number in (2, 5) else 200 for number in range(8)]
        assert is_problem(answers[2], 500, "inference-failed")
        assert service.client.get("/health/ready").status_code == 200
        # The neighbours' answers are those that they get without it.
        for number in (1, 3):
            again = Asked(service, [png(number)]).all()[0].json()["predictions"]
            label = answers[number].json()["predictions"]["colour"]["label"]
            assert again["colour"]["label"] == label
        assert service.value("requests_total", outcome="inference-failed") == 2


def test_an_item_that_breaks_decoding_fails_alone_and_costs_no_forward(tiny: Path) -> None:
    with running(tiny, **ALL_AT_ONCE) as service:
        first = hold(service)
        rest = Asked(service, [png(1)[:60], png(2), png(3)])
        service.wait_value(2, "queue_length")
        service.runtime.gate.set()
        first.all()
        answers = rest.all()
        assert is_problem(answers[0], 422, "undecodable-image")
        assert [answer.status_code for answer in answers[1:]] == [200, 200]
        assert [size for size, _ in service.runtime.calls] == [1, 2]


def test_a_request_whose_deadline_passes_in_the_queue_is_in_no_batch(tiny: Path) -> None:
    with running(tiny, **ALL_AT_ONCE) as service:
        first = hold(service)
        rest = Asked(service, [png(1), png(2), png(3)], [{"X-Deadline-Ms": "150"}])
        service.wait_value(1, "requests_total", outcome="deadline-exceeded")
        service.wait_value(2, "queue_length")
        service.runtime.gate.set()
        first.all()
        answers = rest.all()
        assert is_problem(answers[0], 504, "deadline-exceeded")
        assert [answer.status_code for answer in answers[1:]] == [200, 200]
        assert [size for size, _ in service.runtime.calls] == [1, 2]


def test_a_client_that_goes_away_in_the_queue_is_in_no_batch_and_disturbs_no_neighbour(tiny: Path) -> None:
    with running(tiny, **ALL_AT_ONCE) as service:
        first = hold(service)
        rest = Asked(service, [png(1), png(2)])
        service.wait_value(2, "queue_length")
        request = httpx.Request(
            "POST", f"{service.url}/predict", files={"image": ("photo.png", png(3)), "text": (None, "red")}
        )
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        with service.connect() as leaving:
            leaving.sendall(f"POST /predict HTTP/1.1\r\n{head}\r\n".encode() + request.read())
            service.wait_value(3, "queue_length")
        service.wait_value(2, "queue_length")
        service.runtime.gate.set()
        first.all()
        assert [answer.status_code for answer in rest.all()] == [200, 200]
        assert [size for size, _ in service.runtime.calls] == [1, 2]
        assert service.value("requests_total", outcome="cancelled") == 1
        assert service.value("requests_in_flight") == 0


def test_a_batch_without_memory_is_halved_and_later_ones_are_smaller(tiny: Path) -> None:
    def full(items: Sequence[Item]) -> bool:
        if len(items) > 3:
            raise MemoryError
        return False

    with running(tiny, **ALL_AT_ONCE, batch_sizes=(1, 2, 4, 8)) as service:
        assert service.value("batch_limit") == 8
        service.runtime.shuts_at = full
        for expected in ([1, 8, 4, 2, 2, 4, 2, 2], [1, 2, 2, 2, 2]):
            first = hold(service)
            rest = Asked(service, [png(number) for number in range(8)])
            service.wait_value(8, "queue_length")
            service.runtime.gate.set()
            assert [answer.status_code for answer in first.all() + rest.all()] == [200] * 9
            assert [size for size, _ in service.runtime.calls] == expected
        assert service.value("batch_limit") == 2
        assert service.value("out_of_memory_total") == 1


class OnDevice(Service):
    """The service on the stand-in for a GPU, which has memory for forwards of so many rows."""

    def __init__(self, bundles: tuple[Path, ...], **settings: Any) -> None:
        self.device = StandInDevice()
        super().__init__(bundles, **settings)

    def _make_runtime(self, bundle: Bundle) -> Any:
        made = CudaRuntime(bundle, (1, 2, 4, 8), device=self.device, graphs=False)
        assert self.may_load.wait(PATIENCE)
        return made


def test_a_device_without_memory_for_a_batch_answers_it_in_parts(tiny: Path) -> None:
    with running(tiny, **ALL_AT_ONCE, batch_sizes=(1, 2, 4, 8), make=OnDevice) as service:
        assert isinstance(service, OnDevice)
        service.device.most_rows = 2
        service.device.held = True
        first = Asked(service, [png(0)])
        service.wait_value(1, "requests_in_flight")
        rest = Asked(service, [png(number) for number in range(16)])
        service.wait_value(17, "requests_in_flight")
        service.device.go()
        assert [answer.status_code for answer in first.all() + rest.all()] == [200] * 17
        assert service.value("batch_limit") == 2
        assert service.value("out_of_memory_total") >= 1
        alone = Asked(service, [png(3)]).all()[0].json()["predictions"]
        assert rest.all()[3].json()["predictions"]["colour"]["label"] == alone["colour"]["label"]
