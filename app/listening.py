"""The listening socket, had before anything loads."""

from __future__ import annotations

import socket

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


def siblings(listener: socket.socket, count: int) -> list[socket.socket]:
    """So many more sockets on the listener's address; the kernel spreads connections evenly over them all.

    No other program can listen there meanwhile without joining on purpose. Raises OSError.
    """
    # Only now: had the first one been bound with it, a second service on the same port would not have been refused.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made = []
    for _ in range(count):
        sibling = socket.socket(listener.family, listener.type, listener.proto)
        sibling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sibling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sibling.bind(listener.getsockname())
        sibling.listen(_BACKLOG)
        made.append(sibling)
    return made


def url(listener: socket.socket) -> str:
    """Where a browser on this machine finds the listener."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"
