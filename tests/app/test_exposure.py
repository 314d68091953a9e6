"""Nobody serves other machines without keys unawares, whichever way the service is started."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import httpx
import pytest
from starlette.types import Message
from typer.testing import CliRunner

from app.cli import cli
from app.main import create_app
from app.settings import Settings
from tests.app.test_cli import address, trunkline, wait_ready
from tests.support.tiny import make_tiny_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_others_reach_needs_keys_or_a_word(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if host == "::" and not socket.has_ipv6:
        pytest.skip("there is no IPv6")
    monkeypatch.setenv("COLUMNS", "200")
    refused = CliRunner().invoke(cli, ["serve", "--host", host, "--port", "0"])
    assert refused.exit_code == 1
    assert f"other machines reach {host}" in refused.output
    for way in ("trunkline keys add", "--keys", "--host 127.0.0.1", "--no-keys", "TRUNKLINE_NO_KEYS=true"):
        assert way in refused.output
    assert "listens on" not in refused.output, "nobody is to think that it serves"


def test_it_is_open_when_that_is_said_and_warns(tiny: Path) -> None:
    arguments = ("serve", "--host", "0.0.0.0", "--port", "0", "--bundles", str(tiny), "--workers", "1")
    # The flag itself is one of those that `test_help_is_the_reference` knows; the image's users say it in this way.
    with trunkline(*arguments, TRUNKLINE_NO_KEYS="true") as process:
        with httpx.Client(base_url=address(process), timeout=60, trust_env=False) as client:
            wait_ready(client)
            assert client.get("/models").status_code == 200
        process.terminate()
        assert "whoever reaches 0.0.0.0 may use this service" in process.communicate()[1]


def test_it_starts_before_there_is_a_key_and_says_what_to_do(tiny: Path, tmp_path: Path) -> None:
    """As the image does: the first key is made while it runs."""
    file = tmp_path / "keys.json"
    arguments = ("serve", "--host", "0.0.0.0", "--port", "0", "--bundles", str(tiny), "--workers", "1")
    with trunkline(*arguments, TRUNKLINE_KEYS=str(file)) as process:
        with httpx.Client(base_url=address(process), timeout=60, trust_env=False) as client:
            wait_ready(client)
            assert "no key yet" in client.post("/predict", json={"text": "red"}).json()["detail"]
            made = CliRunner().invoke(cli, ["keys", "add", "me"], env={"TRUNKLINE_KEYS": str(file)})
            assert made.exit_code == 0
            key = made.stdout.strip()
            assert key.startswith("tl_")
            answer = None
            while answer is None or answer.status_code == 401:
                answer = client.post("/predict", json={"text": "red"}, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200
        process.terminate()
        log = process.communicate()[1]
        assert "trunkline keys add NAME" in log
        assert key not in log


def test_the_command_lists_and_revokes_and_never_shows_a_key_again(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.json")

    def run(*arguments: str) -> str:
        outcome = CliRunner().invoke(cli, ["keys", *arguments, "--keys", file])
        assert outcome.exit_code == 0, outcome.output
        return outcome.output

    key = run("add", "shop", "--scope", "predict", "--scope", "admin", "--rate", "50", "--concurrent", "8").split()[0]
    shown = run("list")
    for word in ("shop", "admin, predict", "50/s", "8"):
        assert word in shown
    run("revoke", "shop")
    assert "shop" not in run("list")
    assert key[7:] not in shown + Path(file).read_text()
    assert os.stat(file).st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["add", "a b"], "name"), (["add", "a", "--rate", "0"], "rate"), (["add", "a", "--concurrent", "0"], "concurrent"),
     (["add", "a", "--scope", "root"], "root"), (["revoke", "a"], "no key is named 'a'")],
)  # fmt: skip
def test_a_slip_on_the_command_line_is_told(arguments: list[str], said: str, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(cli, ["keys", *arguments, "--keys", str(tmp_path / "keys.json")])
    assert outcome.exit_code != 0
    assert said in outcome.output
    assert not (tmp_path / "keys.json").exists() or '"keys": []' in (tmp_path / "keys.json").read_text()


def test_under_another_server_what_others_reach_is_refused(tiny: Path) -> None:
    """`uvicorn app.main:app --host 0.0.0.0` knows nothing of our settings; the address is told with each request."""
    app = create_app(Settings(_env_file=None, bundles=(tiny,)))
    seen: dict[str, int] = {}

    async def ask(server: tuple[str, int | None] | None) -> int:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/models",
            "headers": [],
            "query_string": b"",
            "server": server,
        }
        await app(scope, receive, send)
        return int(sent[0]["status"])

    for server in (("127.0.0.1", 8000), ("::1", 8000), ("192.168.1.2", 8000), ("/run/socket", None), None):
        seen[str(server)] = asyncio.run(ask(server))
    assert list(seen.values()) == [503, 503, 403, 503, 503]
