"""Serving on a CPU needs neither torch nor what comes with it: none of it is imported, none of it has to be there.

Nor is what OpenVINO would report its use with.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.bundle import load_bundle

FASHION = Path(__file__).resolve().parents[2] / "weights" / "fashion"

# Nothing of these can be imported or found, as in an installation without them.
BLOCK = """
import importlib.util, json, sys
BLOCKED = "torch transformers onnx onnx_ir onnxruntime onnxscript sklearn pyarrow tensorboard openvino_telemetry"
BLOCKED = [*BLOCKED.split(), "jinja2"]
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.partition(".")[0] in BLOCKED else find(name, *rest)
"""

SERVE = """
import base64, io
from fastapi.testclient import TestClient
from app.main import create_app
from app.settings import Settings
from model.bundle import load_bundle
bundle = load_bundle(sys.argv[1])
case = bundle.golden[0]
settings = Settings(_env_file=None, bundles=(bundle.path,), batch_sizes=(1,))
with TestClient(create_app(settings)) as client:
    while client.get("/health/startup").status_code != 200:
        pass
    ready = client.get("/health/ready")
    body = {**case.images, **case.texts}
    answer = client.post("/predict", json=body)
    metrics = client.get("/metrics").text
loaded = sorted(name for name in sys.modules if name.partition(".")[0] in BLOCKED)
print(json.dumps({"ready": ready.status_code, "answer": answer.json(), "loaded": loaded, "metrics": metrics}))
"""  # fmt: skip


def python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK + program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_shipped_bundle_is_served() -> None:
    done = python(SERVE, FASHION)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert said["ready"] == 200
    assert said["loaded"] == []
    bundle = load_bundle(FASHION)
    raw = {name: np.asarray([values], np.float32) for name, values in bundle.golden[0].answers.items()}
    recorded = {name: values[0].tolist() for name, values in bundle.hierarchies.consistent(raw).items()}
    for name, prediction in said["answer"]["predictions"].items():
        task = bundle.config.tasks[name]
        if task.kind == "multiclass":
            best = max(range(len(recorded[name])), key=recorded[name].__getitem__)
            assert prediction["label"] == task.labels[best]
            # The service may compute in bf16.
            assert prediction["confidence"] == pytest.approx(recorded[name][best], abs=0.05)


HELP = """
from typer.testing import CliRunner
from app.cli import cli
for command in ("serve", "train", "evaluate", "export", "init"):
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert command in result.output
"""


def test_every_command_says_what_it_does() -> None:
    done = python(HELP)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "config.yaml", "--data", ".", "--out", "x"], "train"),
        (["evaluate", str(FASHION), "--data", "."], "train"),
        (["export", str(FASHION)], "onnx"),
    ],
)
def test_what_needs_more_says_which_extra(arguments: list[str], extra: str) -> None:
    done = python(f"from app.cli import main\nsys.argv = ['trunkline', *{arguments!r}]\nmain()")
    assert done.returncode == 2
    assert f"pip install 'trunkline[{extra}]'" in done.stderr
