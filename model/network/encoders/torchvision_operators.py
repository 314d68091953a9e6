"""Make torchvision importable beside a build of torch that its compiled part does not fit."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

# The operators that torchvision describes to torch whether it has them or not.
_DESCRIBED = ("nms", "qnms")


def declare_operators() -> None:
    """Declare torchvision's operators where they cannot be loaded. Call it before timm or transformers is imported.

    The package index holds torchvision for CUDA, which fails to load beside a CPU build of torch; importing it, as both
    libraries do, then fails too. No backbone uses these operators: they belong to the detection of objects.
    """
    spec = find_spec("torchvision")
    if spec is None or _loads(spec.submodule_search_locations or []):
        return
    for name in _DESCRIBED:
        if not hasattr(torch.ops.torchvision, name):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", schema)


def _loads(folders: list[str]) -> bool:
    """Whether the compiled part does, which stays loaded then."""
    for file in (file for folder in folders for file in Path(folder).glob("_C.*")):
        try:
            torch.ops.load_library(str(file))  # type: ignore[no-untyped-call]
        except (ImportError, OSError):
            continue
        return True
    return False
