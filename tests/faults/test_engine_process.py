"""Processes that crash, hang or are stopped while clients ask: what becomes of them, and of what they had."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.app.processes.service import PATIENCE, Load, Service, alive, serving, status, until
from tests.app.serving.bench import png
from tests.faults.signs import BREAK, CRASH_AT_LOAD, FREEZE, HANG, KILL, environment, signed

pytestmark = pytest.mark.slow

WORKERS, ALONE = "2", "1"
# A hang is noticed soon, and nothing is refused for the time that the others need on a busy machine.
PATIENT = ("--deadline", "100", "--max-wait", "60")
HANGS = (*PATIENT, "--hang-timeout", "3")
BROKEN = {"ReadError", "RemoteProtocolError", "WriteError", "ConnectError"}  # what a client sees of a process that ends


@contextmanager
def hurt(bundle: Path, workers: str, *arguments: str, **more: str) -> Iterator[Service]:
    with serving(bundle, "--workers", workers, *arguments, environment=environment(**more)) as service:
        yield service


def ask(service: Service, picture: bytes) -> httpx.Response:
    with service.client() as client:
        return client.post("/predict", files={"image": ("photo.png", picture), "text": (None, "red")})


class Asking(threading.Thread):
    """One request in the background."""

    def __init__(self, service: Service, picture: bytes) -> None:
        super().__init__()
        self._service = service
        self._picture = picture
        self.outcome: int | str = "nothing"
        self.start()

    def run(self) -> None:
        try:
            self.outcome = ask(self._service, self._picture).status_code
        except httpx.TransportError as error:
            self.outcome = type(error).__name__

    def ended(self) -> int | str:
        self.join(PATIENCE)
        assert not self.is_alive(), "a request hangs"
        return self.outcome


def ends(service: Service, name: str) -> int:
    """How often a process has ended unasked."""
    return len(re.findall(rf"the {name} ended, ", "".join(service.log)))


def is_well(service: Service) -> None:
    """Ready, nothing in flight, nothing queued, and a good request is answered."""
    service.wait_ready()
    assert ask(service, png(1)).status_code == 200
    found = service.metrics()
    assert found["trunkline_requests_in_flight"] == found["trunkline_queue_length"] == 0


@pytest.mark.parametrize("sign", [KILL, HANG, FREEZE], ids=["kill", "hang", "freeze"])
def test_an_item_that_ends_the_engine_is_found_and_costs_no_neighbour_its_answer(tiny: Path, sign: int) -> None:
    """Killed, caught in a forward that does not return, or in one that lets no thread of the process go on."""
    with hurt(tiny, WORKERS, *HANGS) as service:
        with Load(service) as load:
            load.wait(20)
            assert Asking(service, signed(sign)).ended() == 500
            # In a batch at first; then alone, by itself.
            until(lambda: ends(service, "engine") >= 2)
            service.wait_ready()
            load.wait(20)
        assert set(load.outcomes) <= {200, 503}, load.outcomes
        assert not load.without_retry
        # Whoever asks for it again ends no engine that its worker has lost before: two for each worker, at most.
        for _ in range(10):
            assert Asking(service, signed(sign)).ended() in (500, 503)
            service.wait_ready()
            assert ends(service, "engine") <= 4
        is_well(service)


@pytest.mark.parametrize(("workers", "victim"), [(WORKERS, "engine"), (WORKERS, "worker 1"), (ALONE, "service")])
def test_a_process_that_is_stopped_counts_as_hung_and_is_replaced(tiny: Path, workers: str, victim: str) -> None:
    with hurt(tiny, workers, *HANGS) as service:
        with Load(service) as load:
            load.wait(20)
            before = service.pids()[victim]
            os.kill(before, signal.SIGSTOP)
            until(lambda: not alive(before))
            service.wait_ready()
            load.wait(20)
        assert f"the {victim} has not reacted for 3 s, and is killed" in "".join(service.log)
        allowed = {200, 503} if victim == "engine" else {200, 503, *BROKEN}
        assert set(load.outcomes) <= allowed, load.outcomes
        assert not load.without_retry
        is_well(service)


@pytest.mark.parametrize(("workers", "victim"), [(WORKERS, "engine"), (ALONE, "service")])
def test_a_process_that_is_killed_is_never_ready_meanwhile_and_soon_again(
    tiny: Path, workers: str, victim: str, record_property: pytest.RecordProperty
) -> None:
    began = time.monotonic()
    with hurt(tiny, workers, *PATIENT) as service:
        start = time.monotonic() - began
        with Load(service) as load:
            load.wait(20)
            killed = time.monotonic()
            service.kill(victim)
            until(lambda: status(service.url, 0.5) != 200)
            unready = time.monotonic() - killed
            service.wait_ready()
            ready = time.monotonic() - killed
            load.wait(20)
        assert set(load.outcomes) <= ({200, 503} if victim == "engine" else {200, 503, *BROKEN}), load.outcomes
        assert not load.without_retry
        # A start of the whole service is what loading takes, and more: a bound that is as fast as the machine.
        assert unready < 1.0 + 0.5
        assert ready < start + 2.0
        record_property("unready after", f"{unready:.2f} s")
        record_property("ready after", f"{ready:.1f} s")
        record_property("a whole start", f"{start:.1f} s")
        is_well(service)


@pytest.mark.parametrize("sign", [HANG, BREAK], ids=["hang", "break"])
def test_one_process_tells_everybody_and_comes_back_by_itself(tiny: Path, sign: int) -> None:
    """A forward that does not return, or a device that answers nothing any more."""
    with hurt(tiny, ALONE, *HANGS) as service:
        before = service.pids()["service"]
        with Load(service) as load:
            load.wait(20)
            assert Asking(service, signed(sign)).ended() == 503
            until(lambda: service.pids().get("service", before) != before)
            service.wait_ready()
            load.wait(20)
        assert load.outcomes[503]
        assert not load.without_retry
        assert set(load.outcomes) <= {200, 503, *BROKEN}, load.outcomes
        assert "the engine is lost: " in "".join(service.log)
        is_well(service)


@pytest.mark.parametrize(("workers", "victim"), [(WORKERS, "engine"), (ALONE, "service")])
def test_a_bundle_that_crashes_at_every_start_is_given_up_with_a_message(
    tiny: Path, tmp_path: Path, workers: str, victim: str
) -> None:
    marker = tmp_path / "crash"
    with hurt(tiny, workers, **{CRASH_AT_LOAD: str(marker)}) as service:
        marker.touch()
        with Load(service) as load:
            load.wait(1)
            service.kill(victim)
            assert service.process.wait(PATIENCE) == 1
        service._reading.join(PATIENCE)
        log = "".join(service.log)
        assert f"trunkline: the {victim} ended 4 times in a row at its start, last by SIGABRT" in log
        pauses = [float(found) for found in re.findall(r"it is started again in ([0-9.]+) s", log)]
        assert pauses == [0.0, 0.5, 1.0, 2.0]


def test_a_bundle_that_crashes_at_the_first_start_is_given_up_with_a_message(tiny: Path, tmp_path: Path) -> None:
    marker = tmp_path / "crash"
    marker.touch()
    service = Service("--workers", "1", "--bundles", str(tiny), environment=environment(**{CRASH_AT_LOAD: str(marker)}))
    try:
        assert service.process.wait(PATIENCE) == 1
    finally:
        service.end()
    assert "trunkline: the service ended 4 times in a row at its start, last by SIGABRT" in "".join(service.log)
