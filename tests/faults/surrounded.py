"""The service as somebody runs it, in surroundings that are not as they should be."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.listening import listen
from tests.app.processes.service import PATIENCE, ROOT, status, until

SERVE = (sys.executable, "-P", "-m", "app.cli", "serve")


class Surrounded:
    """A service at a port that is known beforehand, since it may have nowhere to say it."""

    def __init__(
        self,
        flags: Sequence[str],
        prelude: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        preexec: Callable[[], None] | None = None,
    ) -> None:
        """`prelude`: a command that runs the one behind it."""
        with listen("127.0.0.1", 0) as listener:
            self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [*prelude, *SERVE, "--port", str(self.port), *flags],
            cwd=ROOT, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT), **(environment or {})},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=preexec,
        )  # fmt: skip
        self.log: list[str] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.log.extend(self.process.stdout)

    def wait_ready(self) -> None:
        until(lambda: status(self.url) == 200 or self.process.poll() is not None)
        assert self.process.poll() is None, "".join(self.log)

    def ask(self, **headers: str) -> int:
        """The status that a request gets."""
        with httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False) as client:
            return client.post("/predict", json={"text": "red shirt"}, headers=headers).status_code

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, "".join(self.log)

    def wait_end(self) -> tuple[int, str]:
        """Its exit code and everything that it said."""
        code = self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        return code, "".join(self.log)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join(PATIENCE)


@contextmanager
def surrounded(
    bundle: Path | None,
    *flags: str,
    prelude: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    preexec: Callable[[], None] | None = None,
) -> Iterator[Surrounded]:
    """A service that is ended afterwards. `bundle`: the shipped one when None."""
    own = ("--bundles", str(bundle)) if bundle else ()
    service = Surrounded([*own, "--torch-threads", "1", *flags], prelude, environment, preexec)
    try:
        yield service
    finally:
        service.end()
