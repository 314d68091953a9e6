"""The README's requests, run as they stand there against a live service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.api.harness import running
from tests.support.tiny import make_tiny_bundle, tiny_config, tiny_document

ROOT = Path(__file__).parents[2]
WRITTEN = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose tasks have the names that the README uses."""
    tasks = tiny_document()["tasks"]
    tasks = {"articleType": tasks["colour"], "baseColour": tasks["colour"], "year": tasks["year"]}
    bundle = make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", config=tiny_config(tasks=tasks))
    with running(bundle) as service:
        yield service.url


def snippet(page: str, language: str) -> str:
    """The first block of a language that asks the service."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return next(block for block in found if f"{WRITTEN}/predict" in block)


def run(command: list[str], address: str, code: str) -> str:
    result = subprocess.run(
        command, input=code.replace(WRITTEN, address), capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/http.md"])
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(page: str, address: str) -> None:
    answer = json.loads(run(["sh", "-e"], address, snippet(page, "sh").replace("curl ", "curl -sS ")))
    assert answer["modalities"] == ["image", "text"]
    assert list(answer["predictions"]) == ["articleType", "baseColour", "year"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_json_with_base64(address: str) -> None:
    text = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    block = next(b for b in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if "base64" in b)
    answer = json.loads(run(["sh", "-e"], address, block.replace("curl ", "curl -sS ")))
    assert answer["modalities"] == ["image", "text"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_javascript(address: str) -> None:
    lines = run(["node", "--input-type=module", "-"], address, snippet("README.md", "js")).splitlines()
    assert [line.split()[0] for line in lines] == ["articleType", "baseColour", "year"]
    assert all(len(line.split()) == 2 for line in lines)


def test_python(address: str) -> None:
    lines = run([sys.executable, "-"], address, snippet("README.md", "python")).splitlines()
    assert [line.split()[0] for line in lines] == ["articleType", "baseColour"]
    assert all(0 < float(line.split()[-1]) <= 1 for line in lines)
