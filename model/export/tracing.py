"""A bundle's network as a graph of ONNX operators: any batch size, any text length, any set of inputs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx_ir
import onnxscript
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, NameFixPass
from onnxscript import opset18 as op

from model.bundle import Bundle
from model.config import ImageModality
from model.export.errors import ExportError
from model.export.module import CalibratedNetwork
from model.export.names import graph_names, output_names


def trace(bundle: Bundle, gathering: bool = False) -> onnx_ir.Model:
    """The calibrated network, each weight as the bundle holds it, without a word about the machine that traced it.

    `gathering`: with the input `rows`, for several answers to a row; see CalibratedNetwork.forward. Raises ExportError
    when ONNX cannot express the network.
    """
    names = graph_names(bundle.config)
    inputs, dynamic = _example(bundle)
    rows = torch.tensor([0, 1, 2, 0, 2]) if gathering else torch.arange(len(inputs[0]))
    present = torch.ones(len(rows), len(inputs), dtype=torch.bool)
    answers = {0: "answers" if gathering else "batch"}
    network = CalibratedNetwork(bundle)
    try:
        with warnings.catch_warnings(), _quiet("torch.onnx"), torch.inference_mode():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (inputs, present, rows) if gathering else (inputs, present),
                input_names=[*names.inputs.values(), names.present, *([names.rows] if gathering else [])],
                output_names=output_names(bundle),
                dynamic_shapes=(dynamic, answers, answers) if gathering else (dynamic, answers),
                custom_translation_table={torch.ops.aten.cumprod.default: _cumprod},
                dynamo=True,
                optimize=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"the network cannot be expressed in ONNX: {error}") from error
    assert program is not None
    model: onnx_ir.Model = program.model
    # The exporter notes where in this machine's files each node comes from; that is nobody else's business.
    ClearMetadataAndDocStringPass()(model)
    # A task may bear the name of a value inside the graph.
    NameFixPass()(model)
    model.metadata_props.clear()
    model.producer_name = "trunkline"
    return model


def _example(bundle: Bundle) -> tuple[list[torch.Tensor], list[dict[int, Any]]]:
    """Inputs to trace with, and which of their dimensions may be of any size."""
    inputs, dynamic = [], []
    for position, modality in enumerate(bundle.config.modalities.values()):
        if isinstance(modality, ImageModality):
            inputs.append(torch.zeros(3, modality.height, modality.width, 3, dtype=torch.uint8))
            dynamic.append({0: "batch"})
        else:
            # No size that another dimension has, so that the two are never taken for the same.
            inputs.append(torch.ones(3, modality.max_tokens, dtype=torch.int64))
            dynamic.append({0: "batch", 1: f"length_{position}"})
    return inputs, dynamic


def _cumprod(values: onnxscript.FLOAT, dim: int) -> onnxscript.FLOAT:
    """The running product of probabilities, which this opset has no operator for; the logarithm of 0 is -inf."""
    return op.Exp(op.CumSum(op.Log(values), dim))  # type: ignore[type-var]  # the exporter turns dim into a tensor


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's log to itself."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
