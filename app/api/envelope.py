"""What every request gets, whichever endpoint it reaches: an id, a last-resort answer, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems

# A client that was refused before its upload was read may go on sending for this long. Closing at once would reset
# the connection, and with it take the refusal from a client that reads only after it has sent everything.
LINGER_SECONDS = 5.0

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
logger = logging.getLogger(__name__)


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
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = _Exchange(request_id, _has_body(headers), self.closing, receive, send)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            return  # nobody is left to answer
        except Exception:
            logger.exception("unexpected error", extra={"request_id": request_id})
            if exchange.started:
                raise  # half an answer is out; the server closes the connection
            await problems.internal(request_id)(scope, exchange.receive, exchange.send)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


class _Exchange:
    """One request's messages, watched on their way through."""

    def __init__(
        self, request_id: str, unread: bool, closing: Callable[[], bool], receive: Receive, send: Send
    ) -> None:
        self.started = False
        self._closing = closing
        self._request_id = request_id
        self._unread = unread  # whether some of the request's body may still be on its way
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
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            if self._unread or self._closing():
                headers["Connection"] = "close"
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
