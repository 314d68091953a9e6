"""HTTP/1.1 as uvicorn speaks it, with bounds on what a client can make it hold, and refusals as problem documents.

Uvicorn with httptools keeps whatever a client calls a header, and any number of requests sent ahead of their answers;
what it cannot read it answers in plain text, and in the place of an answer that is still being worked on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api import problems
from app.api.problems import Malformed
from app.errors import QueueFull, ServiceError, TooLarge

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MAX_HEADERS = 100
MAX_HEAD_BYTES = 64 << 10  # of the request line and all headers
MAX_AHEAD = 16  # requests that one connection may send before it has their answers
# A connection that was refused is still read for this long: closing it on unread bytes would reset it, and take the
# refusal from a client that reads only after it has sent everything.
LINGER_SECONDS = 2.0


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn makes it."""
        super().__init__(*args, **kwargs)
        self._untold = 0  # bytes that came since the parser last told of a whole head or a piece of a body
        self._deaf = False
        self._fault: ServiceError | None = None
        self._closing: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the connection has been refused."""
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        self._untold += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No other protocol is spoken, so the request is answered as it is; what follows is not HTTP/1.1.
            self._deaf = True
            self.cycle.keep_alive = False
        except httptools.HttpParserCallbackError:
            self._refuse(self._fault or Malformed("The request's target is no path; send the path alone."))
        except httptools.HttpParserError as error:
            self._refuse(Malformed(f"This is no HTTP/1.1 request: {error}; let an HTTP client write it."))
        else:
            # Of a head that never ends, of trailers and of chunk extensions, only their size is known.
            if self._untold > MAX_HEAD_BYTES:
                self._refuse(_too_large())

    def on_headers_complete(self) -> None:
        """A request begins."""
        self._untold = 0
        if len(self.headers) > MAX_HEADERS:
            raise self._faulty(TooLarge(f"The request has more than {MAX_HEADERS} headers; send fewer."))
        if len(self.url) + sum([len(name) + len(value) for name, value in self.headers]) > MAX_HEAD_BYTES:
            raise self._faulty(_too_large())
        super().on_headers_complete()
        self.headers = []  # what follows a body is no header, whatever it is called
        if len(self.pipeline) > MAX_AHEAD:
            raise self._faulty(
                QueueFull(
                    f"More than {MAX_AHEAD} requests came ahead of their answers; wait for these.", retry_after=1.0
                )
            )

    def on_body(self, body: bytes) -> None:
        """A piece of a body came."""
        self._untold = 0
        cycle = self.cycle
        if cycle.body or cycle.response_complete or self.parser.should_upgrade():
            if isinstance(held := cast("bytes | bytearray", cycle.body), bytes):
                cycle.body = bytearray(held)
            super().on_body(body)
            return
        # What is taken before more comes need not be copied.
        cycle.body = body  # type: ignore[assignment]
        if len(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """A request ended."""
        self._untold = 0
        super().on_message_complete()

    def eof_received(self) -> None:
        """The client will send no more. It may still read why half a request gets no better answer."""
        if not self._deaf and (self._untold or self._unfinished()):
            self._refuse(Malformed("The request ends before it is complete; send as many bytes as its length says."))

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        if self._closing is not None:
            self._closing.cancel()
        super().connection_lost(exc)

    def _unfinished(self) -> bool:
        """Whether the body of the request that came last is still on its way, and its answer, too."""
        return self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body

    def _faulty(self, error: ServiceError) -> ServiceError:
        """Remember what the parser will raise as an error of its own."""
        self._fault = error
        return error

    def _refuse(self, error: ServiceError) -> None:
        """Take no more; answer with `error` in the place of the request that is at fault, then close."""
        self._deaf = True
        request_id = secrets.token_hex(8)
        answer = problems.response(error, request_id)
        answer.headers["X-Request-Id"] = request_id
        cycle, unfinished = self.cycle, self._unfinished()
        if cycle is not None and not cycle.response_complete and not unfinished:
            cycle.keep_alive = False  # good requests are being answered; the one behind them has no cycle
            return
        if unfinished and self.pipeline:
            cycle.keep_alive = False
            self.pipeline[0] = (cycle, cast("ASGI3Application", answer))  # when its turn comes
            return
        if unfinished:
            cycle.disconnected = True  # for the application, nobody is left to answer
            cycle.message_event.set()
        if not (unfinished and cycle.response_started):
            self.transport.write(on_the_wire(answer, [(b"connection", b"close")]))
        self.flow.resume_reading()
        self.transport.write_eof()
        self._closing = self.loop.call_later(LINGER_SECONDS, self.transport.close)


def on_the_wire(answer: Response, more: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """A response as HTTP/1.1, with `more` headers."""
    lines = [b"%s: %s\r\n" % header for header in (*more, *answer.raw_headers)]
    return b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)])


def _too_large() -> TooLarge:
    return TooLarge(f"The request's headers have more than the {MAX_HEAD_BYTES} bytes that are taken; send less.")
