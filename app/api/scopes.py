"""Which endpoint needs a key of which scope, and how a request presents one."""

from __future__ import annotations

from collections.abc import Iterable

from app.access.gate import Gate
from app.access.keys import Scope
from app.errors import Unauthenticated

# Probes, which hold nothing; and the pages with their files and the API's description, without which a browser could
# not even ask for a key. Whatever is not named here needs a key, so that a new endpoint is closed until it is opened.
_OPEN = frozenset({"/", "/docs", "/openapi.json"})
_OPEN_BELOW = ("/health/", "/static/", "/docs/")
_ADMIN = frozenset({"/metrics"})


def scope_of(path: str) -> Scope | None:
    """The scope that a key needs for a path; None where no key is needed."""
    if path in _OPEN or path.startswith(_OPEN_BELOW):
        return None
    return "admin" if path in _ADMIN else "predict"


def presented(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key that a request comes with; None for none. What is no bearer token, or not one alone, is no key: ""."""
    found = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            found = token.strip() if found is None and scheme.lower() == "bearer" else ""
    return found


def may_know(gate: Gate | None, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request to an open path comes from somebody who may ask: such are told what others are not."""
    if gate is None:
        return True
    try:
        return "predict" in gate.find(presented(headers)).scopes
    except Unauthenticated:
        return False
