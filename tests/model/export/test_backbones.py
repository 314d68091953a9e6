"""Bundles with named backbones as graphs: what torch answers, in every pattern and at batches of 1, 2 and 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.serving.runtimes.quiet_openvino import openvino
from model.bundle import Bundle, load_bundle
from model.config import parse_config
from model.export import parity
from model.export.bundle_graph import write_graph
from model.export.names import graph_names
from model.export.parity import draw_cases
from model.network.encoders import resolve_encoders
from model.predictor import Predictor
from tests.support.backbones import named_document, untrained
from tests.support.tiny import make_tiny_bundle

PAIRS = [
    (("timm", "test_convnext"), "bert"),
    (("timm", "resnet10t"), "distilbert"),
    (("timm", "test_vit"), "modernbert"),
    (("transformers", "convnext"), "roberta"),
    (("transformers", "vit"), "deberta-v2"),
    (("timm", "test_mambaout"), "t5"),
]


def make_named(folder: Path, image: tuple[str, str], text: str) -> Bundle:
    document: dict[str, Any] = named_document(
        {"height": 64, "width": 64, "encoder": untrained(*image)},
        {"vocab_size": 200, "encoder": untrained("transformers", text)},
    )
    document["network"] |= {"shared_blocks": 0, "trunk_layers": 0}
    config = resolve_encoders(parse_config(document))
    return load_bundle(make_tiny_bundle(folder / "named", config=config))


def by_openvino(bundle: Bundle) -> Any:
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return openvino.Core().compile_model(str(bundle.graph), "CPU", settings)


@pytest.mark.slow  # tracing takes seconds; tests/model/training/test_named_backbones.py has one for every day
@pytest.mark.parametrize(
    ("image", "text"), PAIRS, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_the_graph_answers_as_torch_does(
    image: tuple[str, str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "BATCH_SIZES", (1, 2, 3))
    bundle, reached = write_graph(make_named(tmp_path, image, text))
    assert reached.difference <= 1e-4
    assert bundle.graph is not None
    compiled, predictor, names = by_openvino(bundle), Predictor(bundle), graph_names(bundle.config)
    sizes, patterns = set(), set()
    for case in draw_cases(bundle, gathering=True):
        expected = predictor(case.items, narrowed=case.narrowed).probabilities
        found = compiled(case.feed)
        for task, values in expected.items():
            scale = (bundle.config.tasks[task].scale or (0.0, 1.0))[1]
            output = found[compiled.output(names.outputs[task])] / scale
            np.testing.assert_allclose(output, values / scale, rtol=0, atol=1e-4, err_msg=f"{task} of {case.name}")
        sizes.add(len(case.items))
        patterns |= {tuple(item) for item in case.items}
    assert sizes == {1, 2, 3}
    assert patterns == {("image",), ("text",), ("image", "text")}
