"""The server of a process that has a supervisor, which says when to finish and when to leave the port."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

from app.processes.channel import Channel, Message
from app.server import Server
from app.settings import Settings


class KeptServer(Server):
    """A server whose sockets the supervisor holds as well, and other processes may.

    A process that has finished goes on telling new requests so until all have finished: connections come to its socket
    for as long as there is one.
    """

    def __init__(self, app: FastAPI, settings: Settings, channel: Channel) -> None:
        """Serve `app` as `settings` say. `channel`: to the supervisor."""
        super().__init__(app, settings)
        self._channel = channel
        self._may_leave = asyncio.Event()

    def hear(self, message: Message) -> None:
        """Do what the supervisor says; what is not for a server is not heard here."""
        match message["kind"]:
            case "ping":
                self._channel.send("pong")
            case "stop":
                self.drain(message["timeout"])
            case "leave":
                self._may_leave.set()

    def abandon(self) -> None:
        """The supervisor is no more: finish and end."""
        self._may_leave.set()
        self.drain()

    async def _drained(self) -> None:
        self._channel.send("drained")
        await self._may_leave.wait()

    async def _leave(self) -> None:
        if not self._left:
            await super()._leave()
            self._channel.send("left")
