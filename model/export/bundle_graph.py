"""The graph inside a bundle: the network's operators, with its weights left where the bundle has them.

`graph.onnx` refers to `model.safetensors` by ONNX external data: file, offset, length. Both formats hold a tensor as
its plain bytes, so nothing is stored twice, and runtimes that know nothing of safetensors read it.
"""

from __future__ import annotations

import onnx
import onnx_ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    LiftConstantsToInitializersPass,
    NameFixPass,
    RemoveUnusedNodesPass,
)
from onnxscript import optimizer

from model.bundle import GRAPH, WEIGHTS, Bundle, add_files, load_bundle
from model.export.parity import Parity, check_parity
from model.export.tracing import trace
from model.golden import check_golden
from model.graph import SMALLEST_REFERENCE, tensor_extents
from model.predictor import Predictor


def write_graph(bundle: Bundle) -> tuple[Bundle, Parity]:
    """Put a graph into a bundle's folder, compared with torch; returns the bundle as it is read back.

    On failure the folder stays as it was. Raises ExportError, BundleError when the bundle fails its own golden cases,
    OSError when nothing can be written there.
    """
    predictor = Predictor(bundle)
    check_golden(bundle, predictor)
    content = build_graph(bundle)
    # Beside the weights, because that is where a runtime looks for them.
    unchecked = bundle.path / (GRAPH + ".part")
    try:
        unchecked.write_bytes(content)
        parity = check_parity(unchecked, bundle, predictor)
    finally:
        unchecked.unlink(missing_ok=True)
    add_files(bundle.path, {GRAPH: content})
    return load_bundle(bundle.path), parity


def build_graph(bundle: Bundle) -> bytes:
    """The content of `graph.onnx`, not yet compared with torch. Raises ExportError when ONNX lacks an operator."""
    model = trace(bundle, gathering=True)
    # What follows from shapes alone is computed here, once; what would make a new weight of a weight is not.
    optimizer.fold_constants_ir(model, should_fold=_keeps_weights)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    CommonSubexpressionEliminationPass()(model)
    RemoveUnusedNodesPass()(model)
    NameFixPass()(model)
    document = onnx_ir.to_proto(model)
    document.graph.ClearField("value_info")
    _refer_to_weights(document, bundle)
    content: bytes = document.SerializeToString()
    return content


def _keeps_weights(node: onnx_ir.Node) -> bool | None:
    """False for a node that reads a weight; None leaves the choice to the optimiser."""
    for value in node.inputs:
        constant = None if value is None else value.const_value
        if constant is not None and constant.nbytes >= SMALLEST_REFERENCE:
            return False
    return None


def _refer_to_weights(document: onnx.ModelProto, bundle: Bundle) -> None:
    """Replace each initializer that the bundle's weights hold, byte by byte, with a reference to them."""
    extents = tensor_extents((bundle.path / WEIGHTS).read_bytes())
    held = {values.tobytes(): name for name, values in bundle.weights.items() if values.nbytes >= SMALLEST_REFERENCE}
    for tensor in document.graph.initializer:
        name = held.get(onnx.numpy_helper.to_array(tensor).tobytes())
        if name is None:
            continue
        offset, length = extents[name]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
