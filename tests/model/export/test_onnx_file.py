"""The exported file: answers, shape, what it says of itself, and what is left when an export fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer

from model.bundle import Bundle, load_bundle
from model.calibration import patterns_of
from model.config import ImageModality
from model.export import onnx_file
from model.export.errors import ExportError
from model.export.onnx_file import export_onnx
from model.export.parity import check_parity
from model.predictor import Predictor
from model.preprocess import normalise_text
from tests.model.export.bundles import drawn
from tests.model.export.conftest import Exported

ROOT = Path(__file__).parents[3]


def items_of(exported: Exported, feed: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What a client would have sent to get this feed: nothing for a missing row, no padding."""
    items = []
    for row, present in enumerate(feed["present"]):
        item = {}
        for here, (name, modality) in zip(present, exported.bundle.config.modalities.items(), strict=True):
            values = feed[exported.names.inputs[name]][row]
            if here:
                item[name] = values if isinstance(modality, ImageModality) else values[values != 0]
        items.append(item)
    return items


def present_of(exported: Exported, patterns: list[tuple[str, ...]]) -> np.ndarray:
    names = exported.bundle.config.modalities
    return np.array([[name in pattern for name in names] for pattern in patterns])


@pytest.mark.parametrize("size", [1, 2, 3, 32])
def test_it_answers_as_torch_does_in_every_pattern(exported: Exported, size: int) -> None:
    patterns = patterns_of(exported.bundle.config)
    mixed = (patterns * size)[1 : size + 1]
    for number, chosen in enumerate([*([pattern] * size for pattern in patterns), mixed]):
        feed = exported.draw(size, seed=number)
        feed["present"] = present_of(exported, chosen)
        found = exported.run(feed)
        expected = exported.predictor(items_of(exported, feed))
        for task, probabilities in expected.probabilities.items():
            scale = (exported.bundle.config.tasks[task].scale or (0, 1))[1]
            difference = np.abs(found[exported.names.outputs[task]] - probabilities).max() / scale
            assert difference <= 1e-4, (chosen[0], task)
        assert np.abs(found["alpha"] - expected.alpha).max() <= 1e-4


def test_the_command_measured_the_same_and_more(exported: Exported) -> None:
    patterns = len(patterns_of(exported.bundle.config))
    assert exported.parity.batches == 1 + 4 * patterns + 3
    assert exported.parity.samples == len(exported.bundle.golden) + (1 + 2 + 3 + 32) * patterns + (2 + 3 + 32)
    assert 0 < exported.parity.difference <= 1e-4


def test_what_stands_in_a_missing_row_has_no_influence(exported: Exported) -> None:
    patterns = patterns_of(exported.bundle.config) * 2
    feed = exported.draw(len(patterns))
    feed["present"] = present_of(exported, patterns)
    clean = exported.run(feed)
    for column, (name, modality) in enumerate(exported.bundle.config.modalities.items()):
        values = feed[exported.names.inputs[name]]
        # No vocabulary has such a token: were it looked up, the run would fail.
        values[~feed["present"][:, column]] = 255 if isinstance(modality, ImageModality) else 2**60
    for output, values in exported.run(feed).items():
        np.testing.assert_allclose(values, clean[output], atol=1e-6, err_msg=output)


def test_padding_has_no_influence(plain: Exported) -> None:
    feed = plain.draw(3)
    feed["text"][:, 5:] = 0
    padded = plain.run(feed)
    feed["text"] = feed["text"][:, :5]
    for output, values in plain.run(feed).items():
        np.testing.assert_allclose(values, padded[output], atol=1e-5, err_msg=output)


def test_a_row_with_nothing_in_it_is_answered_with_nan(exported: Exported) -> None:
    feed = exported.draw(3)
    feed["present"][1] = False
    for values in exported.run(feed).values():
        assert np.isnan(values[1]).all()
        assert np.isfinite(values[[0, 2]]).all()


def test_its_ends_are_named_as_in_the_config_and_of_any_size(exported: Exported) -> None:
    names, config = exported.names, exported.bundle.config
    inputs = {value.name: (value.type, value.shape) for value in exported.session.get_inputs()}
    assert list(inputs) == [*names.inputs.values(), "present"]
    assert inputs["present"] == ("tensor(bool)", ["batch", len(config.modalities)])
    for name, modality in config.modalities.items():
        kind, shape = inputs[names.inputs[name]]
        if isinstance(modality, ImageModality):
            assert (kind, shape) == ("tensor(uint8)", ["batch", modality.height, modality.width, 3])
        else:
            assert kind == "tensor(int64)"
            assert [type(size) for size in shape] == [str, str]
            assert shape[0] == "batch"
    outputs = {value.name: (value.type, value.shape) for value in exported.session.get_outputs()}
    assert list(outputs) == [*names.outputs.values(), "alpha"]
    assert {kind for kind, _ in outputs.values()} == {"tensor(float)"}
    assert {shape[0] for _, shape in outputs.values()} == {"batch"}


def test_names_that_are_taken_get_an_underscore(export: Any) -> None:
    names = export("concat").names
    assert names.inputs == {"present": "present_", "text": "text"}
    assert list(names.outputs.values()) == ["alpha_", "text_", "present__", "linear", "größe in cm"]


def description(exported: Exported) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(exported.session.get_modelmeta().custom_metadata_map["trunkline"])
    return document


def test_the_file_says_what_the_answers_mean(exported: Exported) -> None:
    said, config = description(exported), exported.bundle.config
    assert said["model"]["name"] == config.name
    assert said["model"]["digest"] == exported.bundle.digest
    assert list(said["tasks"]) == list(config.tasks)
    for name, task in config.tasks.items():
        assert said["tasks"][name]["kind"] == task.kind
        assert said["tasks"][name]["labels"] == list(task.labels)
    assert said["present"]["modalities"] == said["alpha"]["modalities"] == list(config.modalities)


def test_the_file_is_enough_to_make_tokens(exported: Exported) -> None:
    for name, tokenizer in exported.bundle.tokenizers.items():
        said = description(exported)["modalities"][name]
        carried = Tokenizer.from_str(json.dumps(said["tokenizer"]))
        carried.encode_special_tokens = True
        for text in ("Red  Shirt", "a [CLS] shirt", "navy\tBLUE shoes for men " * 9):
            ids = [said["start_id"], *carried.encode(normalise_text(text)).ids][: said["max_tokens"]]
            assert ids == tokenizer(text).ids.tolist()


def test_the_file_is_one_valid_graph_and_tells_nothing_of_the_machine(exported: Exported) -> None:
    onnx.checker.check_model(str(exported.file), full_check=True)
    content = exported.file.read_bytes()
    for trace in (str(ROOT), "site-packages", "stack_trace", str(exported.bundle.path)):
        assert trace.encode() not in content
    assert not [file for file in exported.file.parent.iterdir() if file.suffix in (".part", ".data")]


@pytest.fixture
def other(plain: Exported) -> Bundle:
    """The plain bundle, but with other temperatures and β than those in its file."""
    bundle = load_bundle(plain.bundle.path)
    bundle.calibration = drawn(bundle.config, bundle.calibration, torch.Generator().manual_seed(9))
    return bundle


def test_a_file_that_answers_differently_is_refused(plain: Exported, other: Bundle) -> None:
    with pytest.raises(
        ExportError, match=r"answers differently from torch: 'colour' differs by 0\.\d+ on the golden inputs"
    ):
        check_parity(plain.file, other, Predictor(other))
    check_parity(plain.file, plain.bundle, plain.predictor)


@pytest.mark.parametrize("content", ["other", "damaged"])
def test_a_failed_export_leaves_nothing_and_keeps_what_was_there(
    plain: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    whole = plain.file.read_bytes()
    if content == "damaged":
        built = whole[: len(whole) // 2]
    else:
        model = onnx.load_from_string(whole)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("beta") or "gate" in tensor.name:
                values = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.01), tensor.name))
        built = model.SerializeToString()
        assert built != whole
    monkeypatch.setattr(onnx_file, "build_model", lambda bundle: built)
    file = tmp_path / "tiny.onnx"
    with pytest.raises(ExportError):
        export_onnx(plain.bundle, file)
    assert list(tmp_path.iterdir()) == []
    file.write_bytes(whole)
    with pytest.raises(ExportError):
        export_onnx(plain.bundle, file)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == whole
