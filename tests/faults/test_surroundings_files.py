"""With few open files the service serves as many connections as they allow, or says why it does not."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app import files
from tests.app.processes.service import PATIENCE
from tests.faults.surrounded import surrounded

_MANY = 300  # connections, more than any of the limits here


def limited(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "workers"), [(64, 1), (64, 2), (256, 1), (256, 2)])
def test_few_files_are_enough_to_serve_whoever_comes(tiny: Path, limit: int, workers: int) -> None:
    flags = ("--workers", str(workers), "--client-timeout", "60")
    with surrounded(tiny, *flags, preexec=lambda: limited(limit)) as service, ExitStack() as stack:
        service.wait_ready()
        for _ in range(_MANY):
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port), PATIENCE))
        assert service.ask() == 200
        assert httpx.get(f"{service.url}/metrics", timeout=PATIENCE, trust_env=False).status_code == 200
        service.stop()
    assert "leaves room for" in "".join(service.log)
    assert "Traceback" not in "".join(service.log)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [12, 16, 24, 32])
def test_too_few_files_are_said_to_be_the_reason(tiny: Path, limit: int) -> None:
    with surrounded(tiny, "--workers", "1", preexec=lambda: limited(limit)) as service:
        code, said = service.wait_end()
    assert code != 0
    assert "open files" in said.lower(), said


def test_the_limit_is_raised_as_far_as_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    was: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: was.append(both))
    files.raise_limit()
    assert was == [(4096, 4096)]


def test_a_limit_that_leaves_no_room_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 20))
    with pytest.raises(files.TooFewFiles, match=r"the limit of open files is 20, .*ulimit -n"):
        files.connections(100)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert files.connections(100) == 100
