"""Where each process of the service begins: `python -m app.processes.entry FD NAME`.

FD is its end of the channel; the name is for whoever lists processes.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys

from app.processes.channel import parse
from app.settings import Settings
from app.telemetry.logs import configure_logging


def main() -> None:
    """Hear from the supervisor what to be, and be it until the end."""
    end = socket.socket(fileno=int(sys.argv[1]))
    start = parse(_first_line(end))
    # Who stops the service signals its supervisor, which then says so here. A whole group of processes may have been
    # signalled instead, and the engine still has to finish what the workers accepted.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    settings = Settings(_env_file=None, **start["settings"])
    configure_logging(settings.log_level, settings.log_format)
    # Each imports what it needs: a worker nothing that runs networks, the engine nothing of HTTP.
    match start["role"]:
        case "worker":
            from app.processes.worker import run_worker

            sys.exit(run_worker(settings, end, start))
        case "engine":
            from app.processes.engine import run_engine

            code = run_engine(settings, end, socket.socket(fileno=start["listener"]))
        case "service":
            from app.processes.service import run_service

            code = run_service(settings, end, start)
    logging.shutdown()
    # A thread may still be inside a library that builds or runs a network, and would be torn down within it.
    os._exit(code)


def _first_line(end: socket.socket) -> bytes:
    """The first message, and nothing of the next."""
    line = bytearray()
    while not line.endswith(b"\n"):
        if not (piece := end.recv(1)):
            sys.exit(1)  # the supervisor has ended
        line += piece
    return bytes(line)


if __name__ == "__main__":
    main()
