"""`trunkline export`: what it writes, and what it says when it cannot."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import cli
from model.bundle import BundleError, load_bundle
from model.bundle_files import sealed, without_seal
from model.export import bundle_graph, onnx_file
from model.export.parity import Parity
from tests.model.export.conftest import Exported
from tests.support.tiny import make_tiny_bundle


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["export", *map(str, arguments)])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "bundle")


def test_it_writes_a_file_and_says_how_near_to_torch_it_is(
    plain: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tracing takes seconds and has been done; all else is as it is for a user.
    built = plain.file.read_bytes()
    monkeypatch.setattr(onnx_file, "build_model", lambda bundle: built)
    file = tmp_path / "shop.onnx"
    result = run(plain.bundle.path, "--format", "onnx", "--out", file)
    assert result.exit_code == 0, result.output
    size = f"{len(built) / 1e6:.1f} MB"
    assert f"wrote {file} ({size}); its answers to 154 samples in 16 batches are within" in result.output
    assert file.read_bytes() == built


def test_it_puts_a_graph_into_the_bundle(plain: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain.graphed.graph is not None
    built = plain.graphed.graph.read_bytes()
    monkeypatch.setattr(bundle_graph, "build_graph", lambda bundle: built)
    folder = Path(shutil.copytree(plain.graphed.path, tmp_path / "copy", ignore=shutil.ignore_patterns("graph.onnx")))
    manifest = without_seal((folder / "bundle.yaml").read_bytes()).splitlines(keepends=True)
    (folder / "bundle.yaml").write_bytes(sealed(b"".join(line for line in manifest if b"graph.onnx" not in line)))
    assert load_bundle(folder).graph is None
    result = run(folder, "--format", "graph")
    assert result.exit_code == 0, result.output
    assert f"wrote {folder / 'graph.onnx'} (0.1 MB); its answers to 215 samples" in result.output
    assert load_bundle(folder).digest == plain.graphed.digest


def test_a_graph_goes_nowhere_but_into_the_bundle(bundle: Path, tmp_path: Path) -> None:
    result = run(bundle, "--format", "graph", "--out", tmp_path / "x.onnx")
    assert result.exit_code == 2
    assert "has its place in the bundle" in result.output


def test_a_file_that_fails_the_comparison_is_not_written(
    plain: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "build_model", lambda bundle: b"nothing that a runtime takes")
    result = run(plain.bundle.path, "--out", tmp_path / "shop.onnx")
    assert result.exit_code == 2
    assert "onnxruntime cannot load the exported file" in result.output
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_named_for_the_bundle(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(loaded: object, file: Path) -> Parity:
        file.write_bytes(b"model")
        return Parity(1e-7, 16, 154)

    monkeypatch.setattr(onnx_file, "export_onnx", export)
    monkeypatch.chdir(tmp_path)
    assert run(bundle).exit_code == 0
    assert (tmp_path / "tiny.onnx").read_bytes() == b"model"


@pytest.mark.parametrize(
    ("out", "says"),
    [("", "is a folder; --out names the file"), ("nowhere/x.onnx", "no such folder to write x.onnx into")],
)
def test_a_place_where_nothing_can_be_written_is_refused_at_once(
    bundle: Path, tmp_path: Path, out: str, says: str
) -> None:
    result = run(bundle, "--out", tmp_path / out)
    assert result.exit_code == 2
    assert says in result.output


def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "model.safetensors").write_bytes(b"nothing")
    result = run(bundle, "--out", tmp_path / "x.onnx")
    assert result.exit_code == 2
    assert "model.safetensors" in result.output
    assert not (tmp_path / "x.onnx").exists()


def test_a_bundle_that_fails_its_golden_cases_is_refused(plain: Exported, tmp_path: Path) -> None:
    bundle = load_bundle(plain.bundle.path)
    bundle.golden[0].answers["price"] = [1e6]
    with pytest.raises(BundleError, match=r"golden\.json: case 0"):
        onnx_file.export_onnx(bundle, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_it_says_which_extra_is_missing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else found(name, *rest))
    result = run(bundle)
    assert result.exit_code == 2
    assert "exporting to ONNX needs onnx: pip install 'trunkline[onnx]'" in result.output


def test_another_format_is_refused_with_the_known_ones(bundle: Path) -> None:
    result = run(bundle, "--format", "coreml")
    assert result.exit_code == 2
    assert "onnx" in result.output
