"""A bundle as an ONNX file: one graph for every batch size, text length and set of present modalities."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx_ir
from onnxscript import optimizer

from model.bundle import Bundle
from model.export.description import KEY, describe
from model.export.errors import ExportError
from model.export.parity import Parity, check_parity
from model.export.tracing import trace
from model.golden import check_golden
from model.predictor import Predictor

# A protobuf message cannot be larger, and one file is the point of the export.
_LARGEST_FILE = 2**31 - 1


def export_onnx(bundle: Bundle, file: Path) -> Parity:
    """Write `file` and check it against torch; returns how near the two are.

    The file appears when it is whole and has passed: on failure there is none, and one of an earlier export stays as
    it was. Raises ExportError, BundleError when the bundle fails its own golden cases, OSError when nothing can be
    written there.
    """
    predictor = Predictor(bundle)
    check_golden(bundle, predictor)
    content = build_model(bundle)
    unchecked = file.with_name(file.name + ".part")
    try:
        unchecked.write_bytes(content)
        parity = check_parity(unchecked, bundle, predictor)
        unchecked.replace(file)
    finally:
        unchecked.unlink(missing_ok=True)
    return parity


def build_model(bundle: Bundle) -> bytes:
    """The content of the file, not yet compared with torch. Raises ExportError when ONNX cannot express the network."""
    model = trace(bundle)
    # What follows from weights alone, such as a batch norm behind a convolution, is computed here, once.
    optimizer.optimize_ir(model)
    model.metadata_props[KEY] = json.dumps(describe(bundle), ensure_ascii=False)
    document = onnx_ir.to_proto(model)
    if document.ByteSize() > _LARGEST_FILE:
        raise ExportError("the network is larger than the 2 GiB that one ONNX file can hold")
    onnx.checker.check_model(document)
    content: bytes = document.SerializeToString()
    return content
