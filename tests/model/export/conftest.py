"""An exported file for each fusion, made once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from model.bundle import Bundle, load_bundle
from model.config import ImageModality
from model.export import bundle_graph
from model.export.names import Names, graph_names
from model.export.onnx_file import export_onnx
from model.export.parity import Parity
from model.predictor import Predictor
from tests.model.export.bundles import CONFIGS, make_bundle


@dataclass
class Exported:
    bundle: Bundle
    predictor: Predictor
    file: Path
    graphed: Bundle
    parity: Parity
    session: Any

    @property
    def names(self) -> Names:
        return graph_names(self.bundle.config)

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = [output.name for output in self.session.get_outputs()]
        return dict(zip(outputs, self.session.run(outputs, feed), strict=True))

    def draw(self, size: int, seed: int = 0) -> dict[str, np.ndarray]:
        """A feed in which every row has every modality, texts of any length side by side."""
        generator = np.random.default_rng(seed)
        feed: dict[str, np.ndarray] = {}
        for name, modality in self.bundle.config.modalities.items():
            if isinstance(modality, ImageModality):
                shape = (size, modality.height, modality.width, 3)
                values = generator.integers(0, 256, size=shape).astype(np.uint8)
            else:
                values = generator.integers(1, self.bundle.vocab_sizes()[name], size=(size, modality.max_tokens))
                for row in values:
                    row[generator.integers(1, len(row) + 1) :] = 0
            feed[self.names.inputs[name]] = values
        feed["present"] = np.ones((size, len(self.bundle.config.modalities)), dtype=np.bool_)
        return feed


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="package")
def export(folder: Path) -> Callable[[str], Exported]:
    @functools.cache
    def once(kind: str) -> Exported:
        bundle = load_bundle(make_bundle(folder / kind, CONFIGS[kind]))
        file = folder / f"{kind}.onnx"
        parity = export_onnx(bundle, file)
        graphed, _ = bundle_graph.write_graph(bundle)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return Exported(bundle, Predictor(bundle), file, graphed, parity, session)

    return once


# Tracing takes seconds a network.
_SLOW = ("gated", "cross_attention")


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind in _SLOW)) for kind in CONFIGS])
def exported(request: pytest.FixtureRequest, export: Callable[[str], Exported]) -> Exported:
    """One of each fusion."""
    return export(request.param)


@pytest.fixture
def plain(export: Callable[[str], Exported]) -> Exported:
    """An image, a text, the default fusion."""
    return export("alpha")
