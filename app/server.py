"""The HTTP server, with an end at which nothing accepted is lost."""

from __future__ import annotations

import asyncio
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.serving.pipeline import Pipeline
from app.settings import Settings

_CLOSING_SECONDS = 5  # for connections to take their last answer, once every request has one


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

    def drain(self, timeout: float | None = None) -> None:
        """Finish what was accepted, within `timeout` seconds or those of the settings, then end. In the event loop."""
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain(self._drain_timeout if timeout is None else timeout))

    def _stop(self) -> None:
        if self._draining is not None:
            self.force_exit = self.should_exit = True
        self.drain()

    async def _drain(self, timeout: float) -> None:
        await self._pipeline.drain(timeout)
        self.should_exit = True


def serve(app: FastAPI, settings: Settings, listener: socket.socket) -> str | None:
    """Serve on `listener` until a signal; None after an orderly end, else why the service could not be served."""
    server = Server(app, settings)
    server.run([listener])
    return server.failure
