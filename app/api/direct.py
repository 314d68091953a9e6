"""POST /predict straight to its endpoint.

FastAPI documents the endpoint and answers everything else. Its routing, dependencies, exception handlers and whatever
else it wraps around a request take longer than reading an upload does, and this one path needs none of them.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.api.predict import PATH, Endpoint
from app.errors import ServiceError


class Direct:
    """The endpoint as an ASGI application of its own."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Answer every request with `endpoint`."""
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        try:
            response = await self._endpoint(scope, receive)
        except ServiceError as error:
            response = problems.told(error, scope["state"]["request_id"])
        await response(scope, receive, send)


class Application(FastAPI):
    """FastAPI, but POST /predict goes to `predict` where that is set: the endpoint, in the middleware that it needs."""

    predict: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the application's life."""
        if self.predict and scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
            await self.predict(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
