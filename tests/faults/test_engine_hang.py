"""A forward that does not return, in a service without a supervisor: everybody is told, and nobody waits for it."""

from __future__ import annotations

from pathlib import Path

from tests.app.api.harness import is_problem, running
from tests.app.serving.bench import png
from tests.faults.signs import BREAK, signed
from tests.faults.test_engine_items import Asked, hold, hurt


def test_when_a_forward_hangs_all_that_wait_are_told_and_no_probe_is_green(tiny: Path) -> None:
    with running(tiny, cache_size=0, hang_timeout=0.5) as service:
        first = hold(service)
        rest = Asked(service, [png(number) for number in range(4)])
        for answer in first.all() + rest.all():
            assert is_problem(answer, 503, "engine-unavailable")
        for probe in ("live", "ready", "startup"):
            assert is_problem(service.client.get(f"/health/{probe}"), 503, "engine-unavailable")
        assert is_problem(Asked(service, [png(1)]).all()[0], 503, "engine-unavailable")
        assert service.value("engine_state", state="failed") == 1
        assert service.value("requests_in_flight") == service.value("queue_length") == 0


def test_when_a_device_breaks_no_item_is_blamed_and_no_probe_is_green(tiny: Path) -> None:
    with running(tiny, cache_size=0) as service:
        hurt(service)
        first = hold(service)
        rest = Asked(service, [signed(BREAK), png(1), png(2), png(3)])  # one batch, whoever comes first
        service.wait_value(4, "queue_length")
        service.runtime.gate.set()
        assert first.all()[0].status_code == 200
        for answer in rest.all():
            assert is_problem(answer, 503, "engine-unavailable")
        for probe in ("live", "ready"):
            assert is_problem(service.client.get(f"/health/{probe}"), 503, "engine-unavailable")
