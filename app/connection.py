"""One client's connection, with bounds on our patience: uvicorn's own waits for a request without end."""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import socket
import termios
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from app.errors import TooSlow
from app.protocol import Protocol, on_the_wire

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application


class Config(uvicorn.Config):
    """Uvicorn's, and what a connection has to know besides."""

    def __init__(
        self,
        app: FastAPI,
        *,
        client_timeout: float,
        on_lost: Callable[[], None],
        turn_away: Callable[[Any], Response | None] | None,
        **others: Any,
    ) -> None:
        """`client_timeout`: seconds, see Connection. `on_lost` is called whenever a connection has ended.

        `turn_away` is asked for each request by its ASGI scope: a response goes out in the place of the application's,
        and the request's body is dropped.
        """
        super().__init__(app, http=Connection, **others)
        self.turn_away = turn_away
        self.client_timeout = client_timeout
        self.on_lost = on_lost


class Connection(Protocol):
    """A connection that ends where its client keeps it waiting for `client_timeout` seconds.

    That is: for the head of a request, from the first byte to the last (and on a new connection from its beginning), or
    for room to send an answer in. A body is the endpoint's to wait for, see app.api.body; an idle connection has the
    keep-alive time.
    """

    config: Config

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """As uvicorn makes it."""
        super().__init__(config, server_state, app_state, _loop)
        self.idle_since = 0.0  # of the loop's clock; of use while `idle`
        self._in_head = False  # part of a request's head has come
        self._head_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether no request is being answered; the head of one may be on its way."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        for timer in (self._head_timer, self._answer_timer, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self.config.on_lost()

    def data_received(self, data: bytes) -> None:
        """Take what came. After most of it a request is being answered, and there is nothing to wait for."""
        super().data_received(data)
        if self._head_timer is None and self.idle and self.timeout_keep_alive_task is None:
            self._expect_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """A head has ended."""
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        turn_away = self.config.turn_away
        answer = turn_away(cycle.scope) if turn_away is not None and cycle.keep_alive else None
        if answer is None:
            super()._start_asgi_task(cycle, app)
            return
        cycle.response_started = cycle.response_complete = True
        self.transport.write(on_the_wire(answer, self.server_state.default_headers))
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """An answer has been given."""
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client does not take its answer as fast as it is written."""
        super().pause_writing()
        self._answer_timer = self.loop.call_later(self.config.client_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def shutdown(self) -> None:
        """The server ends: close after the answer, or now where no request is on its way."""
        if not (self.idle and (self._in_head or _unread(self.transport))):
            super().shutdown()

    def make_room(self) -> None:
        """Close an idle connection, unless something has just come."""
        if not _unread(self.transport):
            self.transport.close()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.config.client_timeout, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if not self.idle:  # an earlier request of the same client is still being answered
            self._expect_head()
        elif self._in_head and not self._deaf:
            seconds = self.config.client_timeout
            self._refuse(TooSlow(f"The head of the request did not come within {seconds:g} seconds."))
        else:
            self.transport.close()


def _unread(transport: asyncio.Transport) -> bool:
    """Whether the client has sent what the event loop has not read yet."""
    own: socket.socket | None = transport.get_extra_info("socket")
    if own is None:
        return False
    waiting = array.array("i", [0])
    try:
        fcntl.ioctl(own.fileno(), termios.FIONREAD, waiting)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOTCONN):
            raise
        return False
    return waiting[0] > 0
