"""What every request gets, wherever it leads: an id, security headers, a last-resort answer, an orderly end."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Iterable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems
from app.api.security import Headers, headers_for

# A client that was refused before its upload was read may go on sending for this long. Closing at once would reset
# the connection, and with it take the refusal from a client that reads only after it has sent everything.
LINGER_SECONDS = 5.0
# A service that is full is full for many at once, and a new connection for each would cost more than the refusal. So
# the connection stays for the next request, and the server drops what is still to come of a body up to this size.
_DROPPED_BYTES = 1 << 20

_FULL = 429
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
logger = logging.getLogger(__name__)


def read(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bool, bool]:
    """A request's id, its own or a new one; whether it has a body; whether the server may drop that unread."""
    request_id, unread, droppable = b"", False, True
    for name, value in headers:
        if name == b"content-length":
            unread = value != b"0"
            droppable = droppable and value.isdigit() and int(value) <= _DROPPED_BYTES
        elif name == b"x-request-id":
            request_id = value
        elif name == b"transfer-encoding":
            unread, droppable = True, False
        elif name == b"expect":
            droppable = False  # the client may leave the body out, or not: only closing tells where it ends
    if not _SANE_ID.fullmatch(request_id):
        request_id = secrets.token_hex(8).encode()
    return request_id, unread, droppable


class Envelope:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, closing: Callable[[], bool]) -> None:
        """Wrap `app`. While `closing` is true, a connection ends with its answer, so that none is cut in use."""
        self.app = app
        self.closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other kinds of scope pass through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # Load balancers probe with HEAD. It is answered as GET is; the server, which keeps the scope that it made,
            # leaves the body out.
            scope = {**scope, "method": "GET"}
        request_id, unread, droppable = read(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        headers = (*headers_for(scope["path"]), (b"x-request-id", request_id))
        exchange = _Exchange(headers, unread, droppable, self.closing, receive, send)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            return  # nobody is left to answer
        except Exception:
            logger.exception("unexpected error", extra={"request_id": request_id.decode()})
            if exchange.started:
                raise  # half an answer is out; the server closes the connection
            await problems.internal(request_id.decode())(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request's messages, watched on their way through."""

    __slots__ = ("_closing", "_droppable", "_headers", "_receive", "_send", "_unread", "started")

    def __init__(
        self,
        headers: Headers,
        unread: bool,
        droppable: bool,
        closing: Callable[[], bool],
        receive: Receive,
        send: Send,
    ) -> None:
        self.started = False
        self._closing = closing
        self._headers = headers  # added to those of the answer
        self._unread = unread  # whether some of the request's body may still be on its way
        self._droppable = droppable  # whether the server may drop that
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = [*message.get("headers", ()), *self._headers]
            closing = self._closing()
            if self._unread and self._droppable and message["status"] == _FULL and not closing:
                self._unread = False
            if self._unread or closing:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif self._unread and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._discard()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _discard(self) -> None:
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._unread:
                    await self.receive()
        except TimeoutError:
            pass  # patience is over; the server closes the connection
