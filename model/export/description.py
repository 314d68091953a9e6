"""What an exported file says of itself: names, labels and the preprocessing, as one JSON document."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer

from model.bundle import Bundle
from model.config import ImageModality
from model.export.names import graph_names
from model.preprocess import START

# The key of the document among the file's metadata, and the version of its layout.
KEY = "trunkline"
DESCRIPTION_VERSION = 1


def describe(bundle: Bundle) -> dict[str, Any]:
    """Everything that is needed to prepare inputs and to read the answers, as JSON-able values."""
    names = graph_names(bundle.config)
    modalities: dict[str, Any] = {}
    for name, modality in bundle.config.modalities.items():
        if isinstance(modality, ImageModality):
            modalities[name] = {
                "kind": modality.kind,
                "input": names.inputs[name],
                "dtype": "uint8",
                "shape": ["batch", modality.height, modality.width, 3],
                "channels": "RGB",
                "orientation": "upright, as the EXIF orientation says",
                "fit": modality.fit,
                "resample": "bicubic",
                "background": list(modality.background),
                "normalised": "in the graph",
            }
        else:
            tokenizer = bundle.tokenizers[name].to_json()
            modalities[name] = {
                "kind": modality.kind,
                "input": names.inputs[name],
                "dtype": "int64",
                "shape": ["batch", "length"],
                "text": "NFKC, each control character a space, each run of white space one space, none at the ends",
                # A backbone's tokenizer puts its tokens around a text itself.
                "start_id": Tokenizer.from_str(tokenizer).token_to_id(START)
                if modality.tokenizer == "learned"
                else None,
                "pad_id": modality.pad_id,
                "max_tokens": modality.max_tokens,
                "tokenizer": json.loads(tokenizer),
            }
    return {
        "version": DESCRIPTION_VERSION,
        "model": {
            "name": bundle.name,
            "version": bundle.version,
            "digest": bundle.digest,
            "source": bundle.config.source,
        },
        "present": {"input": names.present, "dtype": "bool", "modalities": list(modalities)},
        "modalities": modalities,
        "tasks": {
            name: {"kind": task.kind, "output": names.outputs[name], "labels": list(task.labels)}
            | ({"parents": dict(task.parents)} if task.parents else {})
            for name, task in bundle.config.tasks.items()
        },
        "hierarchies": [list(chain) for chain in bundle.config.hierarchies],
        "alpha": {"output": names.alpha, "modalities": list(modalities)},
    } | (
        {
            "familiarity": {
                "output": names.distance,
                "modalities": list(modalities),
                "curves": {name: curve.model_dump() for name, curve in bundle.calibration.familiarity.items()},
            }
        }
        if bundle.calibration.familiarity
        else {}
    )
