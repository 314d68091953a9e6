"""The HTTP server's process: a socket had before anything loads, and an end at which nothing accepted is lost."""

from __future__ import annotations

import asyncio
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.serving.pipeline import Pipeline
from app.settings import Settings

_CLOSING_SECONDS = 5  # for connections to take their last answer, once every request has one
_BACKLOG = 2048


class AddressInUse(OSError):
    """The address cannot be listened on; the message says which and what to do."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is known before models load. Raises AddressInUse."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressInUse(f"cannot listen on {host}: {error.strerror}") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressInUse(
            f"cannot listen on {host} port {port}: {error.strerror}; "
            "stop what listens there, or choose another port with --port"
        ) from None
    return listener


def url(listener: socket.socket) -> str:
    """Where a browser on this machine finds the listener."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Uvicorn, but the first signal drains: new requests get 503 until the accepted ones have their answers.

    Uvicorn alone closes its socket first, so clients would be refused connections without being told why.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        """Serve `app` as `settings` say."""
        super().__init__(
            uvicorn.Config(
                app,
                loop="auto",  # uvloop where it is installed
                http="httptools",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                # Behind a proxy, its word about the client changes nothing here; from anyone else it is a lie.
                proxy_headers=False,
                timeout_keep_alive=settings.keep_alive,
                timeout_graceful_shutdown=_CLOSING_SECONDS,
            )
        )
        self.failure: str | None = None
        app.state.on_failure = self._fail
        self._pipeline: Pipeline = app.state.pipeline
        self._drain_timeout = settings.drain_timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Run until told to stop."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at once at the second."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self._draining is not None:
            self.force_exit = self.should_exit = True
            return
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        await self._pipeline.drain(self._drain_timeout)
        self.should_exit = True


def serve(app: FastAPI, settings: Settings, listener: socket.socket) -> str | None:
    """Serve on `listener` until a signal; None after an orderly end, else why the service could not be served."""
    server = Server(app, settings)
    server.run([listener])
    return server.failure
