"""Each example client, run as its own process against the real service."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access.file import add_key
from app.access.keys import make_key
from tests.app.api.harness import running
from tests.support.tiny import make_tiny_bundle

EXAMPLES = Path(__file__).parents[2] / "examples"
SHOE = EXAMPLES / "pictures" / "shoe.jpg"
TEXT = 'red & "navy" shirt; @men <kids> 50 % $HOME'  # what a shell, a form or a URL would mangle

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["python", "node", "shell"])
def client(request: pytest.FixtureRequest) -> Run:
    """Run a client: `client(address, image=…, text=…, tasks=…)`."""
    kind = request.param
    needed = {"python": sys.executable, "node": shutil.which("node"), "shell": shutil.which("curl")}[kind]
    if needed is None:
        pytest.skip(f"the {kind} client needs a program that is not installed")

    def run(
        address: str, image: Path | None = None, text: str = "", tasks: str = "", key: str = ""
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TRUNKLINE_KEY": key}
        if kind == "shell":
            command = ["sh", str(EXAMPLES / "client.sh"), str(image or ""), text, tasks]
            environment["URL"] = address
        else:
            script = "client.py" if kind == "python" else "client.mjs"
            command = [needed, str(EXAMPLES / script), "--url", address]
            for flag, value in (("--image", image), ("--text", text), ("--tasks", tasks)):
                command += [f"{flag}={value}"] if value else []
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)

    run.__name__ = kind
    return run


def expected(address: str, **parts: Any) -> dict[str, Any]:
    """The predictions for the same content, asked as JSON."""
    body = {
        name: base64.b64encode(value.read_bytes()).decode() if isinstance(value, Path) else value
        for name, value in parts.items()
    }
    answer = httpx.post(f"{address}/predict", json=body)
    assert answer.status_code == 200, answer.text
    predictions: dict[str, Any] = answer.json()["predictions"]
    return predictions


def said(prediction: dict[str, Any]) -> str:
    """The answer itself, as each client prints it."""
    if prediction["kind"] == "multilabel":
        return ", ".join(f"{x} ({prediction['confidences'][x]:.0%})" for x in prediction["labels"]) or "none"
    if "label" in prediction:
        return f"{prediction['label']} ({prediction['confidence']:.0%})"
    low_high = prediction.get("interval")
    return f"{prediction['value']}" + (f" ({low_high[0]} to {low_high[1]})" if low_high else "")


def assert_answers(run: Run, output: str, predictions: dict[str, Any]) -> None:
    if run.__name__ == "shell":
        assert json.loads(output)["predictions"] == predictions
    else:
        assert output.splitlines() == [f"{task}: {said(answer)}" for task, answer in predictions.items()]


def test_a_photo_and_its_text(client: Run, address: str) -> None:
    result = client(address, image=SHOE, text=TEXT)
    assert (result.returncode, result.stderr) == (0, "")
    assert_answers(client, result.stdout, expected(address, image=SHOE, text=TEXT))


@pytest.mark.parametrize("text", [TEXT, "@/etc/hostname", "<red", "--tasks", "ροζ 🌹 drażé"])
def test_text_alone_arrives_as_it_is(client: Run, address: str, text: str) -> None:
    result = client(address, text=text, tasks="year,colour")
    assert (result.returncode, result.stderr) == (0, "")
    assert_answers(client, result.stdout, expected(address, text=text, tasks=["year", "colour"]))


def test_a_refusal_is_told_in_the_service_s_words(client: Run, address: str) -> None:
    result = client(address, text="red", tasks="colour,weather")
    assert result.returncode in (1, 22)
    refusal = httpx.post(f"{address}/predict", json={"text": "red", "tasks": ["colour", "weather"]}).json()
    assert refusal["status"] == 422
    assert refusal["detail"] in result.stderr + result.stdout


def test_a_key_is_sent_where_there_is_one(client: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("guarded")
    text, key = make_key("client", (), ["predict"], None, None)
    add_key(folder / "keys.json", key)
    with running(make_tiny_bundle(folder / "tiny"), keys=folder / "keys.json") as service:
        let_in = client(service.url, text="red", tasks="year", key=text)
        assert (let_in.returncode, let_in.stderr) == (0, "")
        for wrong in ("", "tl_000_wrong"):
            refused = client(service.url, text="red", key=wrong)
            assert refused.returncode != 0
            assert "API key" in refused.stderr + refused.stdout


def test_a_service_that_is_not_there(client: Run) -> None:
    result = client("http://127.0.0.1:9", text="red")
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert result.stderr.strip()
