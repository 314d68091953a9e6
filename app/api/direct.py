"""POST /predict straight to its endpoint.

FastAPI documents the endpoint and answers everything else. Its routing, dependencies and exception handlers take longer
than reading the body of an upload does, and this one path needs none of them.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.api.predict import PATH, Endpoint
from app.errors import ServiceError


class Direct:
    """ASGI middleware inside everything that wraps requests, and outside FastAPI's own layers."""

    def __init__(self, app: ASGIApp, endpoint: Endpoint) -> None:
        """Wrap `app`, which gets what is not for `endpoint`."""
        self.app = app
        self.endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        try:
            response = await self.endpoint(scope, receive)
        except ServiceError as error:
            response = problems.told(error, scope["state"]["request_id"])
        await response(scope, receive, send)
