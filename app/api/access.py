"""Who may ask over HTTP: API keys as bearer tokens (RFC 6750), or, without keys, this machine alone."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access import keys
from app.access.exposure import is_foreign_name, is_local
from app.access.gate import Gate
from app.api import problems
from app.api.predict import PATH
from app.api.scopes import presented, scope_of
from app.errors import Forbidden, ServiceError, Unauthenticated
from app.telemetry.metrics import Metrics

_REALM = 'Bearer realm="trunkline"'


class KeyAccess:
    """ASGI middleware: a request needs a key that has the path's scope, and is within the key's limits."""

    def __init__(self, app: ASGIApp, gate: Gate, metrics: Metrics) -> None:
        """Wrap `app`."""
        self._app = app
        self._gate = gate
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        needed = scope_of(scope["path"]) if scope["type"] == "http" else None
        if needed is None:
            await self._app(scope, receive, send)
            return
        try:
            admitted = self._gate.admit(presented(scope["headers"]), needed)
        except ServiceError as error:
            if scope["path"] == PATH:
                self._metrics.request(error.code)
            await _refusal(error, needed, scope)(scope, receive, send)
            return
        with admitted:
            await self._app(scope, receive, send)


class Local:
    """Whether a request came to this machine by a name that is its own."""

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self._known: dict[Any, bool] = {}  # by address and name, of which a machine has few

    def __call__(self, scope: Scope) -> bool:
        """Tell of one request."""
        server = scope.get("server")
        address = server[0] if server else None
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        local = self._known.get((address, host))
        if local is None:
            local = _is_local(address, host.decode("latin-1"))
            if len(self._known) < 64:
                self._known[address, host] = local
        return local


class LocalAccess:
    """ASGI middleware: no key is asked for, and so a request must have come to an address of this machine's own.

    `trunkline serve` does not even listen elsewhere without keys; this holds under other servers, too. A hostile page
    in a browser on this machine is kept out as well: see `is_foreign_name`.
    """

    def __init__(self, app: ASGIApp, local: Local) -> None:
        """Wrap `app`."""
        self._app = app
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope_of(scope["path"]) is not None and not self._local(scope):
            error = Forbidden(
                "Without API keys, this service answers this machine alone, by its address or as localhost. "
                "Whoever runs it can give it keys (--keys FILE), or open it to everybody (--no-keys)."
            )
            await _refusal(error, None, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_local(address: str | None, host: str) -> bool:
    try:
        local = address is None or is_local(address)
    except ValueError:
        local = True  # a path of a Unix socket, which has owners and modes of its own
    return local and not is_foreign_name(host)


def _refusal(error: ServiceError, needed: keys.Scope | None, scope: Scope) -> Response:
    response = problems.told(error, scope["state"]["request_id"])
    if isinstance(error, Unauthenticated):
        invalid = presented(scope["headers"]) is not None
        response.headers["WWW-Authenticate"] = f'{_REALM}, error="invalid_token"' if invalid else _REALM
    elif needed is not None and isinstance(error, Forbidden):
        response.headers["WWW-Authenticate"] = f'{_REALM}, error="insufficient_scope", scope="{needed}"'
    return response
