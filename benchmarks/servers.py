"""The servers that are compared, and how each is started.

Threads and workers of the peers are the best of those that `benchmarks/tune.py` tries on two cores; batches may be as
large as Trunkline's.
"""

from __future__ import annotations

import http.client
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import Tree
from benchmarks.uploads import ROOT, Upload

TAUGHT, OURS = "taught", "ours"  # a peer as taught; a peer given our intake and our runtime
TRUNKLINE = "trunkline"
_READY_SECONDS = 120.0
_POLL_SECONDS = 0.02
_SETTLE_SECONDS = 0.25
_IDLE_CORES = 0.12  # more than when it was idle; less than any work
_LOADING_CORES = 0.5  # less than a worker that loads; more than one that polls
_LOADING_SECONDS, _LEFTOVER_SECONDS = 30.0, 6.0


@dataclass(frozen=True)
class Server:
    """One way to serve the bundle."""

    name: str  # as tables show it
    key: str  # as the command line names it; a peer's environment is called the same
    variant: str | None  # TAUGHT, OURS, or None: Trunkline
    command: tuple[str, ...]  # behind the environment's Python; {port} and {bin} are filled in
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Unique among all servers."""
        return self.key if self.variant is None else f"{self.key}-{self.variant}"


def _peer(name: str, key: str, variant: str, command: tuple[str, ...], **settings: object) -> Server:
    given = {f"PEER_{setting.upper()}": str(value) for setting, value in settings.items()}
    return Server(name, key, variant, command, {"PEER_VARIANT": variant, **given})


_PLAIN = ("{bin}/python", "-m", "benchmarks.peers.plain")
_LIT = ("{bin}/python", "-m", "benchmarks.peers.lit")
_MOSEC = ("{bin}/python", "-m", "benchmarks.peers.mosec_stages")
_BENTO = ("{bin}/bentoml", "serve", "benchmarks.peers.bento:Products", "--host", "127.0.0.1", "--port", "{port}")
_RAY = ("{bin}/python", "-m", "benchmarks.peers.rayserve")

SERVERS = (
    Server(
        "Trunkline", TRUNKLINE, None, ("{bin}/python", "-m", "app.cli", "serve", "--port", "{port}")
    ),
    _peer("plain FastAPI", "plain", TAUGHT, _PLAIN, threads=1, batch=1),
    _peer("LitServe", "litserve", TAUGHT, _LIT, threads=1, workers=2, batch=32, wait_ms=10),
    _peer("mosec", "mosec", TAUGHT, _MOSEC, threads=1, workers=1, decoders=2, batch=32, wait_ms=10),
    _peer("BentoML", "bentoml", TAUGHT, _BENTO, threads=1, workers=2, batch=32),
    _peer("Ray Serve", "rayserve", TAUGHT, _RAY, threads=1, workers=2, batch=32, wait_ms=10),
    _peer("plain FastAPI", "plain", OURS, _PLAIN, threads=1, batch=1),
    _peer("LitServe", "litserve", OURS, _LIT, threads=1, workers=2, batch=32, wait_ms=10),
    _peer("mosec", "mosec", OURS, _MOSEC, threads=1, workers=1, decoders=1, batch=32, wait_ms=10),
    _peer("BentoML", "bentoml", OURS, _BENTO, threads=2, workers=1, batch=32),
    _peer("Ray Serve", "rayserve", OURS, _RAY, threads=1, workers=2, batch=32, wait_ms=10),
)  # fmt: skip

# No peer reports on its use, and none finds a display, an accelerator or a proxy.
_QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "LITSERVE_LOG_LEVEL": "WARNING",
    "DO_NOT_TRACK": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TOKENIZERS_PARALLELISM": "false",
}


class NotReady(RuntimeError):
    """A server ended, or did not answer in time; the message holds the end of its log."""


class Running:
    """A started server."""

    def __init__(self, server: Server, peers: Path, logs: Path, bundle: Path) -> None:
        self.server = server
        self.port = free_port()
        self._idle: float | None = None  # cores in use without load
        folder = Path(sys.executable).parent if server.variant is None else (peers / server.key / "bin").absolute()
        values = {"bin": str(folder), "port": str(self.port)}
        command = [word.format(**values) for word in server.command]
        if server.variant is None:
            command += ["--bundles", str(bundle)]
        self._scratch = tempfile.mkdtemp(
            prefix="tl-"
        )  # short: sockets in it have paths of some hundred characters at most
        self._log = logs / f"{server.id}.log"
        environment = {
            **_QUIET,
            **server.settings,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PEER_BUNDLE": str(bundle),
            "PEER_PORT": str(self.port),
            "TMPDIR": self._scratch,
            "RAY_TMPDIR": self._scratch,
            "MOSEC_PORT": str(self.port),
            "MOSEC_ADDRESS": "127.0.0.1",
        }
        if server.variant is not None:
            environment["OMP_NUM_THREADS"] = server.settings["PEER_THREADS"]
        self.tree = Tree(command, environment, self._log, ROOT)

    def wait_ready(self, upload: Upload) -> float:
        """Seconds from the start to the first answer; for Trunkline, to ready. Raises NotReady."""
        ends = self.tree.started + _READY_SECONDS
        while time.monotonic() < ends:
            if self.tree.ended:
                raise NotReady(f"{self.server.name} ended: {self._tail()}")
            if self.server.variant is None:
                status = _ask(self.port, "GET", "/health/ready")
            else:
                status = _ask(self.port, "POST", "/predict", *form(upload))
            if status == 200:
                return time.monotonic() - self.tree.started
            time.sleep(_POLL_SECONDS)
        raise NotReady(f"{self.server.name} was not ready within {_READY_SECONDS:.0f} s: {self._tail()}")

    def stop(self) -> None:
        """End every process and remove what they left on the disk."""
        self.tree.stop()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def settle(self) -> None:
        """Wait until the server is idle, as it may still be at work on what its last load left.

        The first answer may come while other workers still load, so the first time more patience is had. Some servers
        poll when they are idle; what they use then is not work.
        """
        first = self._idle is None
        limit = _LOADING_CORES if self._idle is None else self._idle + _IDLE_CORES
        ends = time.monotonic() + (_LOADING_SECONDS if first else _LEFTOVER_SECONDS)
        while (busy := self._busy(_SETTLE_SECONDS)) > limit and time.monotonic() < ends:
            pass
        if first:
            self._idle = busy

    def _busy(self, seconds: float) -> float:
        """Cores that the server keeps busy in the next `seconds`."""
        before = self.tree.cpu_seconds()
        time.sleep(seconds)
        return (self.tree.cpu_seconds() - before) / seconds

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else "no log"


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def form(upload: Upload) -> tuple[bytes, str]:
    """A multipart body and its media type."""
    head = '--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    tail = f'\r\n--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n{upload.title}\r\n--b--\r\n'
    return head.encode() + upload.image + tail.encode(), "multipart/form-data; boundary=b"


def _ask(port: int, method: str, path: str, body: bytes | None = None, media_type: str = "") -> int:
    """The status of an answer, 0 without one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": media_type} if body else {})
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
