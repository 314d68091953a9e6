"""The real service on a free port of the loopback interface, in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.main import create_app
from app.server import Server, listen, url
from app.settings import Settings

PATIENCE = 30.0  # seconds after which a service that is not ready, or does not end, has failed the test


@contextmanager
def service(*bundles: Path) -> Iterator[str]:
    """Serve bundles; gives the address once it is ready."""
    settings = Settings(_env_file=None, bundles=bundles, port=0, torch_threads=1, batch_sizes=(1, 2))
    with listen("127.0.0.1", 0) as listener:
        server = Server(create_app(settings), settings)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            wait_until_ready(url(listener))
            yield url(listener)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the service did not end"


def wait_until_ready(address: str) -> None:
    """Return when the service takes requests; fail when that takes too long."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if httpx.get(f"{address}/health/ready").status_code == 200:
            return
        time.sleep(0.05)
    raise AssertionError(f"not ready after {PATIENCE} s: {httpx.get(f'{address}/health/ready').text}")
