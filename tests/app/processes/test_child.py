"""A process is started again, with pauses that grow, and given up where it never comes up."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from app.processes import child as module
from app.processes.child import Child, ServiceFailed

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Scripted(Child):
    """A child whose processes end as told: the reason given, seconds up (None: never), exit code."""

    def __init__(self, *ends: tuple[str | None, float | None, int]) -> None:
        super().__init__("engine", dict, [], {}, lambda child, message: None)
        self.ends = list(ends)
        self.starts = 0

    async def _run(self) -> tuple[str | None, float | None, int]:
        self.starts += 1
        end = self.ends.pop(0)
        if not self.ends:
            self._stop_asked.set()
        return end


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)


def ignore(child: Child) -> None: ...


async def test_one_that_ends_is_started_again(no_pauses: None) -> None:
    child = Scripted((None, 99.0, -9), (None, 99.0, -11), (None, 5.0, 0))
    ended: list[Child] = []
    await child.keep(ended.append)
    assert child.starts == len(ended) == 3
    await child.ended()


async def test_one_that_never_comes_up_is_given_up_with_a_message(no_pauses: None) -> None:
    child = Scripted(*[(None, None, -11)] * 9)
    with pytest.raises(ServiceFailed, match=r"the engine ended 4 times in a row at its start, last by SIGSEGV"):
        await child.keep(ignore)
    assert child.starts == 4


async def test_one_that_says_why_it_cannot_is_not_started_again() -> None:
    child = Scripted((None, 99.0, -9), ("bundle.yaml: damaged", None, 1), (None, 1.0, 0))
    with pytest.raises(ServiceFailed, match="damaged"):
        await child.keep(ignore)
    assert child.starts == 2


async def test_one_that_came_up_before_is_not_given_up_however_often_it_ends(no_pauses: None) -> None:
    child = Scripted(*[(None, 0.1, -9)] * 8, (None, 0.1, 0))
    await child.keep(ignore)
    assert child.starts == 9


async def test_ends_after_it_was_up_do_not_count_as_ends_at_its_start(no_pauses: None) -> None:
    up, never = (None, 0.1, -9), (None, None, -11)
    child = Scripted(up, up, up, never, never, never, up, never, never, never, (None, 0.1, 0))
    await child.keep(ignore)
    assert child.starts == 11


async def test_pauses_grow_and_a_stop_ends_them() -> None:
    child = Scripted(*[(None, 0.1, -9)] * 3)
    keeping = asyncio.create_task(child.keep(ignore))
    while child.starts < 2:  # noqa: ASYNC110  # it comes at once or never
        await asyncio.sleep(0)
    # The first came back at once; now it waits, until somebody wants it to end.
    await asyncio.sleep(0)
    assert not keeping.done()
    child.stop(0.0)
    await asyncio.wait_for(keeping, 10)
    assert child.starts == 2


class Watched(Child):
    """A child that is watched, with a process that a test speaks for."""

    def __init__(self, hang_timeout: float) -> None:
        super().__init__("engine", dict, [], {}, lambda child, message: None, hang_timeout)
        self.pings = 0
        self.answers = True

    def send(self, kind: str, **fields: Any) -> None:
        assert kind == "ping"
        self.pings += 1
        if self.answers:
            asyncio.get_running_loop().call_soon(self._reacted.set)


class Process:
    returncode = None
    killed = False

    def kill(self) -> None:
        self.killed = True


def watch(child: Watched) -> tuple[Process, asyncio.Task[None]]:
    process = Process()
    return process, asyncio.create_task(child._watch(process))  # type: ignore[arg-type]


async def test_one_that_answers_lives_and_one_that_does_not_any_more_is_killed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    child = Watched(0.08)
    process, watching = watch(child)
    await asyncio.sleep(0)
    child._reacted.set()  # it is up
    while child.pings < 5:  # noqa: ASYNC110  # it is asked by the clock
        await asyncio.sleep(0.01)
    assert not process.killed
    child.answers = False
    await asyncio.wait_for(watching, 20)
    assert process.killed
    assert "the engine has not reacted for 0.08 s, and is killed" in caplog.text


async def test_one_that_never_comes_up_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_START", 0.05)
    child = Watched(10.0)
    process, watching = watch(child)
    await asyncio.wait_for(watching, 20)
    assert process.killed
    assert not child.pings


async def test_one_that_is_watched_by_nobody_lives() -> None:
    child = Watched(0.0)
    process, watching = watch(child)
    await asyncio.wait_for(watching, 20)
    assert not process.killed


async def test_a_watcher_that_was_stopped_itself_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LATE", 0.2)
    child = Watched(0.05)
    process, watching = watch(child)
    await asyncio.sleep(0)
    child._reacted.set()
    child.answers = False
    while not child.pings:  # noqa: ASYNC110  # it is asked by the clock
        await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251  # the loop does not turn, as if the process had been stopped
    await asyncio.sleep(0.01)
    assert not process.killed
    child._reacted.set()
    child.answers = True
    while child.pings < 3:  # noqa: ASYNC110  # it is asked by the clock
        await asyncio.sleep(0.01)
    assert not process.killed
    watching.cancel()
