"""The graph inside a bundle: small, its weights left where they are, read by two runtimes, gone with its weights."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml

from app.serving.runtimes.quiet_openvino import openvino
from model.bundle import BundleError, add_files, load_bundle, save_bundle
from model.bundle_files import sealed, without_seal
from model.export import bundle_graph
from model.export.bundle_graph import write_graph
from model.export.errors import ExportError
from model.graph import SMALLEST_REFERENCE, external_references
from tests.model.export.conftest import Exported


@pytest.fixture
def copy(plain: Exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain.graphed.path, tmp_path / "copy"))


def graph_of(exported: Exported) -> onnx.ModelProto:
    assert exported.graphed.graph is not None
    return onnx.load(exported.graphed.graph, load_external_data=False)


def test_every_weight_is_a_reference_and_what_is_inline_is_no_weight(exported: Exported) -> None:
    held = {values.tobytes() for values in exported.bundle.weights.values() if values.nbytes >= SMALLEST_REFERENCE}
    initializers = graph_of(exported).graph.initializer
    inline = [tensor for tensor in initializers if tensor.data_location != onnx.TensorProto.EXTERNAL]
    assert held
    assert not [tensor.name for tensor in inline if onnx.numpy_helper.to_array(tensor).tobytes() in held]
    # Calibration tables, positions and the constants of shapes.
    assert max(len(tensor.SerializeToString()) for tensor in inline) < 2048
    referred = {
        (tensor.offset, tensor.length) for tensor in external_references(graph_of(exported).SerializeToString())
    }
    assert len(referred) == len(held)


def test_the_graph_tells_nothing_of_the_machine(exported: Exported) -> None:
    assert exported.graphed.graph is not None
    content = exported.graphed.graph.read_bytes()
    for trace in (str(exported.bundle.path), "site-packages", "stack_trace", "/torch/"):
        assert trace.encode() not in content
    assert sorted(file.suffix for file in exported.graphed.path.iterdir()).count(".part") == 0


def by_onnxruntime(exported: Exported, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(exported.graphed.graph), providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, feed), strict=True))


def by_openvino(exported: Exported, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(str(exported.graphed.graph), "CPU", settings)
    answers = compiled(feed)
    return {name: answers[compiled.output(name)] for name in [*exported.names.outputs.values(), exported.names.alpha]}


@pytest.mark.parametrize("run", [by_onnxruntime, by_openvino])
def test_it_answers_as_the_whole_file_does(exported: Exported, run: Any) -> None:
    feed = exported.draw(4)
    feed["present"][1, 0] = len(exported.bundle.config.modalities) == 1
    expected = exported.run(feed)
    for name, values in run(exported, feed | {"rows": np.arange(4)}).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("run", [by_onnxruntime, by_openvino])
def test_a_row_is_answered_again_as_if_it_had_less(exported: Exported, run: Any) -> None:
    """As the whole file answers a row of its own for each answer."""
    feed = exported.draw(3)
    feed["present"][1, 0] = False
    rows = np.array([0, 1, 2, 2, 0, 2])
    present = feed["present"][rows]
    present[3, 1:] = present[4, :1] = present[5, :1] = False
    inputs = [exported.names.inputs[name] for name in exported.bundle.config.modalities]
    expected = exported.run({**{name: feed[name][rows] for name in inputs}, "present": present})
    assert not np.allclose(expected[exported.names.alpha][0], expected[exported.names.alpha][4])
    for name, values in run(exported, feed | {"rows": rows, "present": present}).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_same_bundle_gets_the_same_graph(plain: Exported, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain.graphed.graph is not None
    content = plain.graphed.graph.read_bytes()
    before = load_bundle(copy)
    add_files(copy, {"graph.onnx": content})
    assert (copy / "graph.onnx").read_bytes() == content
    assert load_bundle(copy).digest == before.digest == plain.graphed.digest
    assert plain.graphed.digest != plain.bundle.digest


def fix_checksum(bundle: Path) -> None:
    manifest = yaml.safe_load(without_seal((bundle / "bundle.yaml").read_bytes()))
    manifest["checksums"]["graph.onnx"] = hashlib.sha256((bundle / "graph.onnx").read_bytes()).hexdigest()
    (bundle / "bundle.yaml").write_bytes(sealed(yaml.safe_dump(manifest, sort_keys=False).encode()))


def test_a_changed_graph_is_refused(copy: Path) -> None:
    content = bytearray((copy / "graph.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "graph.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"graph\.onnx: its SHA-256"):
        load_bundle(copy)
    (copy / "graph.onnx").unlink()
    with pytest.raises(BundleError, match=r"graph\.onnx: cannot be read"):
        load_bundle(copy)


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret.json", "golden.json", "sub/model.safetensors"])
def test_a_graph_that_reads_other_files_is_refused(copy: Path, location: str) -> None:
    (copy.parent / "secret.json").write_bytes((copy / "model.safetensors").read_bytes())
    model = onnx.load(copy / "graph.onnx", load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL)
    next(entry for entry in tensor.external_data if entry.key == "location").value = location
    (copy / "graph.onnx").write_bytes(model.SerializeToString())
    fix_checksum(copy)
    with pytest.raises(BundleError, match=r"graph\.onnx: .* may refer to model\.safetensors alone"):
        load_bundle(copy)


def test_new_weights_have_no_graph_until_they_get_one(copy: Path) -> None:
    loaded = load_bundle(copy)
    save_bundle(
        copy,
        config=loaded.config,
        weights={name: values * 2 for name, values in loaded.weights.items() if name != "task_relation.T"}
        | {"task_relation.T": loaded.weights["task_relation.T"]},
        relation=loaded.relation,
        tokenizers=loaded.tokenizers,
        calibration=loaded.calibration,
        golden=loaded.golden,
        provenance={},
    )
    assert load_bundle(copy).graph is None
    assert not (copy / "graph.onnx").exists()


def test_an_interruption_leaves_a_bundle(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph that is half replaced is not looked at."""
    import model.bundle as module

    write = module.write_atomically

    def stop(path: Path, content: bytes) -> None:
        if path.name == "graph.onnx":
            (copy / "graph.onnx").write_bytes(b"half")
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(module, "write_atomically", stop)
    with pytest.raises(KeyboardInterrupt):
        add_files(copy, {"graph.onnx": b"whole"})
    assert load_bundle(copy).graph is None


def test_a_graph_that_answers_differently_is_not_written(
    plain: Exported, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = graph_of(plain)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.data_location != onnx.TensorProto.EXTERNAL:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.clip(values, -1e6, 1e6) * np.float32(1.01), tensor.name))
    other = model.SerializeToString()
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    assert other != before["graph.onnx"]
    monkeypatch.setattr(bundle_graph, "build_graph", lambda bundle: other)
    with pytest.raises(ExportError, match="answers differently from torch"):
        write_graph(load_bundle(copy))
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before
