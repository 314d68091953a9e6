"""The command line, as somebody uses it: in a process of its own, to a real socket, until a signal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.listening import AddressInUse, listen, url
from app.settings import Settings
from tests.support.tiny import make_tiny_bundle

PATIENCE = 120.0  # the process imports torch, on a machine that may be busy
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@contextmanager
def trunkline(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", "from app.cli import main; main()", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def address(process: subprocess.Popen[str]) -> str:
    """The address that the process says it listens on."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://[0-9.]+:\d+", line)
    assert found, line
    return found[0]


def wait_ready(client: httpx.Client) -> None:
    ends = time.monotonic() + PATIENCE
    while client.get("/health/ready").status_code != 200:
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_serves_until_sigterm_and_loses_nothing_that_it_accepted(tiny: Path) -> None:
    arguments = ("serve", "--port", "0", "--bundles", str(tiny), "--log-level", "warning")
    with trunkline(*arguments, TRUNKLINE_TORCH_THREADS="1") as process:
        base = address(process)
        answered: list[int] = []
        ended = threading.Event()

        def ask() -> None:
            """Ask until nobody is there any more; whoever got through gets an answer or is sent elsewhere."""
            with httpx.Client(base_url=base, timeout=PATIENCE, trust_env=False) as own:
                while not ended.is_set():
                    try:
                        response = own.post("/predict", json={"text": "red"})
                    except httpx.ConnectError:
                        return
                    except (httpx.RemoteProtocolError, httpx.ReadError):
                        # An idle connection was closed at the very moment of its next request, before any of it was
                        # read: HTTP tells a client to ask again on a new one.
                        continue
                    answered.append(response.status_code)

        with httpx.Client(base_url=base, timeout=PATIENCE, trust_env=False) as client:
            wait_ready(client)
            askers = [threading.Thread(target=ask) for _ in range(8)]
            for asker in askers:
                asker.start()
            while len(answered) < 40:
                assert client.get("/health/live").status_code == 200
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(PATIENCE) == 0, process.communicate()[1]
        finally:
            ended.set()
            for asker in askers:
                asker.join(PATIENCE)
        assert set(answered) <= {200, 503}
        assert answered.count(200) >= 40


def test_a_bundle_that_cannot_be_served_ends_the_process_with_the_reason(tmp_path: Path) -> None:
    with trunkline("serve", "--port", "0", "--bundles", str(tmp_path / "nope")) as process:
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert f"trunkline: {tmp_path / 'nope'}: no such folder" in errors
        assert "Traceback" not in errors


def test_a_taken_port_is_told() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        refused = CliRunner().invoke(cli, ["serve", "--port", str(port)])
    assert refused.exit_code == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in refused.output
    assert "--port" in refused.output


def test_a_host_that_is_not_ours_is_told() -> None:
    with pytest.raises(AddressInUse, match="no-such-host"):
        listen("no-such-host.invalid", 0)


def test_the_address_is_one_that_a_browser_can_open() -> None:
    with listen("0.0.0.0", 0) as listener:
        assert url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_wrong_flag_and_a_wrong_variable_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = CliRunner().invoke(cli, ["serve", "--port", "99999"])
    assert refused.exit_code == 1
    assert "--port: " in refused.output
    monkeypatch.setenv("TRUNKLINE_MAX_QUEUE", "0")
    refused = CliRunner().invoke(cli, ["serve"])
    assert refused.exit_code == 1
    assert "TRUNKLINE_MAX_QUEUE: " in refused.output


@pytest.mark.parametrize("flag", ["--bundles", "--batch-sizes"])
def test_a_list_with_nothing_in_it_is_told(flag: str) -> None:
    result = CliRunner().invoke(cli, ["serve", flag, ","])
    assert result.exit_code == 1
    assert f"{flag}: give at least one" in result.output


def test_help_is_the_reference() -> None:
    shown = CliRunner().invoke(cli, ["serve", "--help"], env={"COLUMNS": "200"}).output
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in shown
        assert field.description is not None
        assert field.description[1:20] in shown


def test_commands() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).output
    for command in ("serve", "train", "evaluate"):
        assert command in shown


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from app.cli import cli; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=PATIENCE)
