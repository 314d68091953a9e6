"""Write the lock files: every package that an installation needs, with the one version that the project is tested with.

`make lock` runs it. It needs nothing but pip, asks pip what it would install into an empty environment, and writes
`requirements.lock` (to serve), `requirements-torch.lock` (to serve by torch too, as on a GPU) and
`requirements-dev.lock` (to train and to develop): each the pins of the one before, and more. Packages that only a CUDA
build of torch asks for are left out: each build of torch names its own, so the lock serves them all.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
# What Linux builds of torch for GPUs bring along; pinned by torch itself.
BROUGHT_BY_TORCH = re.compile(r"nvidia-|cuda-|triton")
HEADER = """\
# {purpose}
# Written by `make lock`; change the ranges in pyproject.toml, not this file.
"""


def main() -> None:
    """Resolve the sets, the largest one first so that the others take their pins from it."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = Path(scratch) / "venv"
        venv.create(environment, with_pip=True)
        constraints = Path(scratch) / "constraints.txt"
        constraints.write_text(TORCH + "\n")
        develop = resolve(environment, f"{ROOT}[dev]", constraints)
        constraints.write_text("\n".join(develop) + "\n")
        by_torch = resolve(environment, f"{ROOT}[torch]", constraints)
        serve = resolve(environment, str(ROOT), constraints)
    write(
        ROOT / "requirements-dev.lock", "To train, test and develop: `pip install -r requirements-dev.lock`.", develop
    )
    write(
        ROOT / "requirements-torch.lock",
        "To serve by torch too, as on a GPU: `pip install -r requirements-torch.lock`.",
        by_torch,
    )
    write(ROOT / "requirements.lock", "To serve: `pip install -r requirements.lock`.", serve)


def resolve(environment: Path, wanted: str, constraints: Path) -> list[str]:
    """Pins of everything that pip would install for `wanted` into an empty environment, sorted by name."""
    report = constraints.with_suffix(".json")
    command = [environment / "bin" / "python", "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    subprocess.run([*command, "--report", report, "--constraint", constraints, wanted], check=True)
    pins = []
    for entry in json.loads(report.read_text())["install"]:
        name = re.sub(r"[-_.]+", "-", entry["metadata"]["name"]).lower()
        version = entry["metadata"]["version"].partition("+")[0]  # a local build (+cpu) is the machine's choice
        if name != "trunkline" and not BROUGHT_BY_TORCH.match(name):
            pins.append(f"{name}=={version}")
    return sorted(pins)


def write(path: Path, purpose: str, pins: list[str]) -> None:
    """Replace one lock file and say how many packages it holds."""
    path.write_text(HEADER.format(purpose=purpose) + "\n".join(pins) + "\n")
    sys.stdout.write(f"{path.name}: {len(pins)} packages\n")


if __name__ == "__main__":
    main()
