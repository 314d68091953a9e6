"""Many clients at a time: they ask, some leave before they are answered, and every answer is judged."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import orjson
import uvloop

from benchmarks.http_client import Connection
from tests.faults.asking import ID_LENGTH, Template, fill

PATIENCE = 120.0  # seconds after which a request without an answer hangs
_PAUSE = 0.05  # seconds that a client lets pass after a 503
_MOST_COMPLAINTS = 20

_NUMBERS = itertools.count(1)  # of requests, so that no two have one id

Judge = Callable[[str, int, bytes], str | None]  # request id, status, body -> what is wrong


@dataclass(frozen=True)
class Leaving:
    """How a client goes away: when it has sent a share of its request and so many seconds have passed."""

    share: float
    after: float
    at_once: bool  # without an orderly end


@dataclass(frozen=True)
class Ask:
    """A request and what may come of it."""

    template: Template
    judge: Judge
    leaving: Leaving | None = None


@dataclass
class Tally:
    """What became of the requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    left: int = 0  # clients that went away unanswered
    complaints: list[str] = field(default_factory=list)

    @property
    def asked(self) -> int:
        return self.left + sum(self.statuses.values())

    def complain(self, what: str) -> None:
        if len(self.complaints) < _MOST_COMPLAINTS:
            self.complaints.append(what)


class _Client(Connection):
    """A connection whose answers are awaited."""

    def __init__(self) -> None:
        super().__init__(_Client._answered)
        self._answer: asyncio.Future[tuple[int, bytes] | None]

    async def ask(self, request: bytes, leaving: Leaving | None) -> tuple[int, bytes] | None:
        """Status and body, status 0 where the connection broke; None where the client left first."""
        self._answer = asyncio.get_running_loop().create_future()
        if leaving is not None:
            asyncio.get_running_loop().call_later(leaving.after, self._leave, leaving, self._answer)
            request = request[: int(leaving.share * len(request))]
        self.send((request, b"", b""), 0, time.monotonic())
        async with asyncio.timeout(PATIENCE):
            return await self._answer

    def _answered(self, status: int, body: bytes) -> None:
        if not self._answer.done():
            self._answer.set_result((status, body))

    def _leave(self, leaving: Leaving, answer: asyncio.Future[tuple[int, bytes] | None]) -> None:
        if not answer.done():
            answer.set_result(None)
            self.leave(leaving.at_once)

    def leave(self, at_once: bool = False) -> None:
        """Close, and hear no more; `at_once`: with a reset, where something is unread or unsent."""
        self.usable = self.busy = False
        if at_once:
            self._transport.abort()
        else:
            self._transport.close()


class Crowd:
    """Clients that share the requests to come, each on a connection that it keeps while it can."""

    def __init__(self, url: str, asks: Iterator[Ask], clients: int = 64) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._host, self._port = host, int(port)
        self._asks = asks
        self._clients = clients
        self.tally = Tally()

    def run(self) -> Tally:
        """Return when there is nothing more to ask and every request has ended."""
        uvloop.run(self._run())
        return self.tally

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(self._client())

    async def _client(self) -> None:
        client: _Client | None = None
        for ask in self._asks:
            request_id = f"{next(_NUMBERS):0{ID_LENGTH}d}"
            if client is None or not client.usable:
                loop = asyncio.get_running_loop()
                _, client = await loop.create_connection(_Client, self._host, self._port)
            try:
                answer = await client.ask(fill(ask.template, request_id.encode()), ask.leaving)
            except TimeoutError:
                self.tally.complain(f"{request_id}: no answer in {PATIENCE:g} s")
                client.abort()
                continue
            if answer is None:
                self.tally.left += 1
                continue
            status, body = answer
            self.tally.statuses[status] += 1
            if ask.leaving is not None and ask.leaving.share < 1:
                if not 400 <= status < 600:  # a service may refuse what it has not read to its end
                    self.tally.complain(f"{request_id}: {status} for a part of a request")
            elif (wrong := ask.judge(request_id, status, body)) is not None:
                self.tally.complain(wrong)
            if status == 503:
                await asyncio.sleep(_PAUSE)
        if client is not None and client.usable:
            client.leave()


def expect(status: int, slug: str | None = None) -> Judge:
    """A judge to whom only the status, the problem's type and the request's id matter."""

    def judge(request_id: str, found: int, body: bytes) -> str | None:
        if found != status:
            return f"{request_id}: {found} in the place of {status}: {body[:300]!r}"
        if slug is not None:
            problem = orjson.loads(body)
            if (problem["type"], problem["request_id"]) != (f"urn:trunkline:problem:{slug}", request_id):
                return f"{request_id}: not its {slug}: {problem}"
        return None

    return judge
