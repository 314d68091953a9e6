"""What is built from the clone holds all that an installation needs, and nothing else."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def sources(*folders: str) -> set[str]:
    """Every file that git does not ignore, committed or not."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source archive, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", out, ROOT], check=True, capture_output=True)
    return out


def test_the_wheel_holds_the_code_and_the_files_of_its_pages_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == sources("app", "model")
    assert "app/web/static/index.html" in held
    assert [name for name in held if name.startswith("app/api/static/")]


def test_the_source_archive_holds_the_licence_and_no_weights(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml"} <= held
    assert not [name for name in held if name.startswith("weights/")]


def test_the_installed_wheel_serves_its_help_from_anywhere(built: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target]
    subprocess.run([*install, next(built.glob("*.whl"))], check=True, capture_output=True)
    outcome = subprocess.run(
        [target / "bin" / "trunkline", "serve", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--port" in outcome.stdout
