"""What `make` says and does before anything is installed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "environment.sh"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str) -> str:
    # Of a make around the tests, nothing may reach the one that is tested.
    environment = {
        key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "PORT", "HOST")
    }
    outcome = subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return outcome.stdout


def environment(*arguments: str | Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PATH": path or os.environ["PATH"]}
    return subprocess.run(["/bin/sh", SCRIPT, *arguments], env=variables, capture_output=True, text=True, check=False)


def command(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_help_lists_every_target() -> None:
    targets = re.search(r"^\.PHONY: (help .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    listed = re.findall(r"^  make (\w+) +\w+", make("help"), re.MULTILINE)
    assert listed == targets[1].split()
    assert make() == make("help")


def test_run_prints_a_request_for_the_address_that_it_serves() -> None:
    planned = make("--dry-run", "run", "PORT=8123", "HOST=0.0.0.0")
    request = re.search(r"curl -F image=@(\S+) -F \"text=[^\"]+\" (\S+)/predict", planned)
    assert request is not None
    assert (ROOT / request[1]).is_file()
    assert request[2] == "http://127.0.0.1:8123"
    assert "trunkline serve --host 0.0.0.0 --port 8123" in planned


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("a place") / "venv"
    assert environment("--check", place).returncode == 1
    assert environment(place, sys.executable).returncode == 0
    return place


def test_a_usable_environment_is_kept(made: Path) -> None:
    (made / "mark").touch()
    assert environment("--check", made).returncode == 0
    assert environment(made, sys.executable).returncode == 0
    assert (made / "mark").exists()


def test_an_environment_that_was_moved_is_not_usable(made: Path, tmp_path: Path) -> None:
    """Its commands would still run the code at the old place."""
    moved = tmp_path / "venv"
    shutil.copytree(made, moved, symlinks=True)
    assert environment("--check", moved).returncode == 1


def test_an_environment_whose_python_is_gone_is_not_usable(made: Path, tmp_path: Path) -> None:
    broken = tmp_path / "venv"
    (broken / "bin").mkdir(parents=True)
    (broken / "bin" / "python").symlink_to(tmp_path / "no-such-python")
    (broken / ".made-at").write_text(str(broken))
    assert environment("--check", broken).returncode == 1


def test_an_old_python_is_named_with_what_to_do(tmp_path: Path) -> None:
    old = command(tmp_path / "bin", "old", '[ "$1" = --version ] && echo Python 3.9.2; exit 1')
    outcome = environment(tmp_path / "venv", old)
    assert outcome.returncode == 1
    assert "needs Python 3.11 or newer" in outcome.stderr
    assert "Python 3.9.2" in outcome.stderr
    assert "make PYTHON=" in outcome.stderr
    assert not (tmp_path / "venv").exists()


def test_no_python_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    outcome = environment(tmp_path / "venv", path=str(tmp_path / "bin"))
    assert outcome.returncode == 1
    assert "python3 here is not installed" in outcome.stderr


def test_an_old_python3_is_passed_over_for_a_newer_one(tmp_path: Path) -> None:
    command(tmp_path / "bin", "python3", "exit 1")
    command(tmp_path / "bin", "python3.11", '[ "$2" != venv ] || { mkdir "$3" && echo 3.11 >"$3/made-by"; }')
    outcome = environment(tmp_path / "venv", path=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "venv" / "made-by").read_text() == "3.11\n"


def test_a_python_without_venv_is_named_with_what_to_do(tmp_path: Path) -> None:
    bare = command(tmp_path / "bin", "bare", f'case "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"')
    outcome = environment(tmp_path / "venv", bare)
    assert outcome.returncode == 1
    assert "apt install python3-venv" in outcome.stderr
    assert not (tmp_path / "venv").exists()
