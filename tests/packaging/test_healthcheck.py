"""The image's health check tells ready from not ready, over a real socket."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "healthcheck.py"


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


def check(port: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRUNKLINE_PORT": str(port)}
    return subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, check=False)


def test_a_ready_service_is_healthy() -> None:
    with answering(200, b"{}") as port:
        assert check(port).returncode == 0


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_service_that_is_not_ready_is_unhealthy_and_says_why(status: int) -> None:
    with answering(status, b'{"detail": "bundle fashion: golden.json differs"}') as port:
        outcome = check(port)
    assert outcome.returncode == 1
    assert f"{status}: " in outcome.stderr
    assert "golden.json differs" in outcome.stderr


def test_nobody_listening_is_unhealthy() -> None:
    with socket.socket() as taken:  # bound, not listening: nobody else can take the port meanwhile
        taken.bind(("127.0.0.1", 0))
        outcome = check(taken.getsockname()[1])
    assert outcome.returncode == 1
    assert "no answer on port" in outcome.stderr


def test_a_service_that_never_answers_is_unhealthy_within_the_time_out() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        outcome = check(mute.getsockname()[1])
    assert outcome.returncode == 1
    assert "timed out" in outcome.stderr
