"""Sockets on one address: connections are spread over them, and nobody else gets any."""

from __future__ import annotations

import socket

import pytest

from app.listening import AddressInUse, listen, siblings


def test_connections_are_spread_over_all() -> None:
    listener = listen("127.0.0.1", 0)
    sockets = [listener, *siblings(listener, 3)]
    clients = [socket.create_connection(listener.getsockname()) for _ in range(64)]
    taken = []
    for one in sockets:
        one.setblocking(False)
        accepted = []
        try:
            while True:
                accepted.append(one.accept()[0])
        except BlockingIOError:
            taken.append(len(accepted))
        for connection in accepted:
            connection.close()
    assert sum(taken) == 64
    assert min(taken) >= 4  # 16 on average
    for one in (*sockets, *clients):
        one.close()


def test_a_second_service_is_still_refused() -> None:
    with listen("127.0.0.1", 0) as listener:
        made = siblings(listener, 1)
        with pytest.raises(AddressInUse):
            listen("127.0.0.1", listener.getsockname()[1])
        made[0].close()
