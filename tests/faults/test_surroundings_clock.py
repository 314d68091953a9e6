"""The wall clock may be years wrong, or jump: what the service measures, it measures by one that does neither."""

from __future__ import annotations

import ast
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.app.processes.service import PATIENCE, ROOT
from tests.faults.surrounded import surrounded
from tests.faults.wire import head, read_reply

SOURCE = Path(__file__).with_name("wrong_clock.c")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler, with which a wrong clock could be made")
    built = tmp_path_factory.mktemp("clock") / "wrong_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", built, SOURCE], check=True)
    return built


@pytest.mark.slow
@pytest.mark.parametrize("how", ["past", "future", "jumps"])
def test_a_wrong_clock_changes_nothing(tiny: Path, library: Path, how: str) -> None:
    environment = {"LD_PRELOAD": str(library), "WRONG_CLOCK": how}
    code = "import time; print(time.time())"
    told = float(subprocess.check_output([sys.executable, "-c", code], env=environment))
    assert how == "jumps" or abs(told - time.time()) > 10 * 365 * 86400, "the clock is right after all"
    with surrounded(tiny, "--workers", "2", environment=environment) as service:
        service.wait_ready()
        for _ in range(5):
            assert service.ask(**{"X-Deadline-Ms": "20000"}) == 200
        with socket.create_connection(("127.0.0.1", service.port), PATIENCE) as late:
            began = time.monotonic()
            late.sendall(head(100, "X-Deadline-Ms: 400"))
            assert read_reply(late).status == 504
            assert 0.3 < time.monotonic() - began < 5
        service.stop()
    assert "Traceback" not in "".join(service.log)


def test_nothing_that_serves_reads_the_wall_clock() -> None:
    """Only what is shown to people may: the log, and the time at which a key was made."""
    readers = set()
    for file in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "time.time",
                "datetime.now",
                "datetime.utcnow",
            ):
                readers.add(str(file.relative_to(ROOT)))
    assert readers <= {"app/access/command.py", "app/access/keys.py", "app/access/store.py"}
