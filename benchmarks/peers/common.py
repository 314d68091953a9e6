"""What every peer needs: the two variants of preparing and running, and the facts that an answer holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from model.bundle import Bundle, load_bundle
from model.config import Config
from model.outputs import Outputs
from model.preprocess import Item, pixels

BATCH_SIZES = (1, 2, 3, 4, 8, 16, 32)  # warmed before a peer says that it is ready


@dataclass(frozen=True)
class Setup:
    """A peer's settings, from the environment: they have to reach worker processes that the peer starts."""

    variant: str = field(default_factory=lambda: os.environ.get("PEER_VARIANT", "taught"))
    port: int = field(default_factory=lambda: int(os.environ.get("PEER_PORT", "8000")))
    threads: int = field(default_factory=lambda: int(os.environ.get("PEER_THREADS", "1")))
    workers: int = field(default_factory=lambda: int(os.environ.get("PEER_WORKERS", "1")))
    decoders: int = field(default_factory=lambda: int(os.environ.get("PEER_DECODERS", "1")))
    batch: int = field(default_factory=lambda: int(os.environ.get("PEER_BATCH", "16")))
    wait_ms: float = field(default_factory=lambda: float(os.environ.get("PEER_WAIT_MS", "10")))
    bundle: Path = field(default_factory=lambda: Path(os.environ.get("PEER_BUNDLE", "weights/fashion")))


class Prepare(Protocol):
    """An upload becomes what the network reads. Thread-safe."""

    def __call__(self, image: bytes, text: str) -> Item:
        """`image`: a JPEG file."""
        ...


class Forward(Protocol):
    """Prepared items become an answer each. Not to be called from two threads at once."""

    def __call__(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """One forward for all of them."""
        ...


def make_prepare(setup: Setup) -> Prepare:
    """As taught: Pillow decodes the whole picture. Ours: `app.intake`."""
    bundle = load_bundle(setup.bundle)
    config, tokenizers = bundle.config, bundle.tokenizers
    if setup.variant == "ours":
        from app.intake import Limits, prepare

        limits = Limits()
        return lambda image, text: prepare({"image": image, "text": text}, config, tokenizers, limits).item

    def taught(image: bytes, text: str) -> Item:
        picture = Image.open(BytesIO(image)).convert("RGB")
        return {"image": pixels(picture, config.modalities["image"]), "text": tokenizers["text"](text).ids}

    return taught


def make_forward(setup: Setup) -> Forward:
    """As taught: torch, eager, fp32. Ours: the runtime that Trunkline chooses for this processor."""
    bundle = load_bundle(setup.bundle)
    run = _our_runtime(bundle, setup) if setup.variant == "ours" else _torch_eager(bundle, setup)

    def forward(items: Sequence[Item]) -> list[dict[str, Any]]:
        return facts(run(items), bundle.config)

    item = make_prepare(setup)(_picture(), "a title of some words")
    for size in BATCH_SIZES:
        if size <= max(1, setup.batch):
            forward([item] * size)
    return forward


def _torch_eager(bundle: Bundle, setup: Setup) -> Any:
    import torch

    from model.predictor import Predictor

    torch.set_num_threads(setup.threads)
    return Predictor(bundle)


def _our_runtime(bundle: Bundle, setup: Setup) -> Any:
    from app.serving.runtime import run
    from app.serving.runtimes.choice import choose_runtime

    runtime = choose_runtime(bundle, device="cpu", threads=setup.threads)
    return lambda items: run(runtime, items)


def facts(outputs: Outputs, config: Config) -> list[dict[str, Any]]:
    """For each item and task the label and its confidence; a multilabel task has a list of labels."""
    answers: list[dict[str, Any]] = [{} for _ in range(len(outputs.alpha))]
    for name, rows in outputs.probabilities.items():
        task = config.tasks[name]
        for answer, row in zip(answers, rows, strict=True):
            if task.kind in ("multiclass", "ordinal"):
                best = int(row.argmax())
                answer[name] = {"label": task.labels[best], "confidence": round(float(row[best]), 6)}
            elif task.kind == "multilabel":
                chosen = {label: round(float(p), 6) for label, p in zip(task.labels, row, strict=True) if p >= 0.5}
                answer[name] = {"labels": list(chosen), "confidences": chosen}
            elif task.kind == "binary":
                positive = float(row[0])
                confidence = round(max(positive, 1 - positive), 6)
                answer[name] = {"label": task.labels[positive >= 0.5], "confidence": confidence}
            else:
                answer[name] = {"value": float(row[0])}
    return answers


def _picture() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (800, 1000), (200, 200, 200)).save(buffer, "JPEG")
    return buffer.getvalue()
