"""The listening socket: had before anything loads, shared where that is wanted, and closed without losing a client."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

BACKLOG = 2048  # connections that may wait to be taken
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# A filter of the kernel's, in which data begins at the TCP header: a segment with SYN and without ACK is dropped, every
# other one passes. Each line: operation, jump if true, jump if false, operand.
_NO_NEW_HANDSHAKES = (
    (0x30, 0, 0, 13),  # load the byte of the flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # is it SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)


class AddressInUse(OSError):
    """The address cannot be listened on; the message says which and what to do."""


def listen(host: str, port: int, *, share: bool = False) -> socket.socket:
    """A listening socket, so that a taken port is known before models load. Raises AddressInUse.

    `share`: other services of the same user may have the port, too, if they say so. The socket is bound, but gets no
    connections before its `listen` is called: until then they are the others'.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressInUse(f"cannot listen on {host}: {error.strerror}") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(address)
        if not share:
            listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressInUse(
            f"cannot listen on {host} port {port}: {error.strerror}; "
            "stop what listens there, or choose another port with --port"
        ) from None
    return listener


def siblings(listener: socket.socket, count: int) -> list[socket.socket]:
    """So many more sockets like the listener on its address; the kernel spreads connections evenly over them all.

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
        if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sibling.listen(BACKLOG)
        made.append(sibling)
    return made


def turn_away(listener: socket.socket) -> None:
    """Let no new connection begin, before the socket is closed for good.

    Closing resets every connection that waits to be accepted, and between the last look at them and closing, another
    one may come. With this in between, none does: its client hears nothing and asks again a second later, when another
    service listens there or none does. Handshakes that have begun still end. Only Linux can do this; elsewhere nothing
    happens.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NO_NEW_HANDSHAKES))
    listener.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        struct.pack("HP", len(_NO_NEW_HANDSHAKES), ctypes.addressof(program)),
    )


def url(listener: socket.socket) -> str:
    """Where a browser on this machine finds the listener."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"
