"""How well familiarity tells inputs unlike the training data from ordinary ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

from model.calibration import Calibration
from model.config import Config, ImageModality
from model.data.dataset import Split
from model.familiarity import Curve
from model.network import Network
from model.training.batches import BatchMaker
from model.training.familiarity import collect_features, distances_of
from model.unfamiliar.pictures import unfamiliar_pictures
from model.unfamiliar.texts import unfamiliar_texts

BELOW = (0.05, 0.01)
_MOST = 300  # inputs of each kind


def measure_familiarity(network: Network, maker: BatchMaker, calibration: Calibration) -> dict[str, Any]:
    """What a split's inputs and strange ones get: modality -> figures, of the modalities that have familiarity.

    `rows`: how many inputs of the split; `below`: level -> the share of them that is told less; `unlike`: kind of
    strange input -> how many (`count`), the area under the ROC curve (`auroc`) and `below` for these.
    """
    result = {}
    ordinary = _told(network, maker, calibration)
    for name, shares in ordinary.items():
        if not len(shares):
            continue
        kinds, strange = strange_split(maker.config, maker.split, name)
        told = _told(network, BatchMaker(maker.config, strange, maker.tokenizers), calibration)[name]
        result[name] = {
            "rows": len(shares),
            "below": _below(shares),
            "unlike": {
                kind: {
                    "count": int((kinds == kind).sum()),
                    "auroc": _auroc(shares, told[kinds == kind]),
                    "below": _below(told[kinds == kind]),
                }
                for kind in dict.fromkeys(kinds.tolist())
            },
        }
    return result


def _told(network: Network, maker: BatchMaker, calibration: Calibration) -> dict[str, NDArray[np.float64]]:
    """The familiarity of a split's inputs as it is served: modality -> [n]."""
    if network.familiarity is None:
        return {}
    distances = distances_of(network.familiarity, network.modalities, collect_features(network, maker))
    return {name: _shares(curve, distances[name]) for name, curve in calibration.familiarity.items()}


def _shares(curve: Curve, distances: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.array([curve.share(distance) for distance in distances.tolist()])


def strange_split(config: Config, split: Split, name: str) -> tuple[NDArray[np.str_], Split]:
    """Inputs of every kind for one modality, as a split of rows that have nothing else; and each row's kind."""
    modality = config.modalities[name]
    count = min(_MOST, len(split))
    made: dict[str, Any]
    if isinstance(modality, ImageModality):
        made = dict(unfamiliar_pictures(modality, count))
    else:
        made = dict(unfamiliar_texts([text for text in split.texts[name] if text], count))
    total = count * len(made)
    images, texts = {}, {}
    for other, found in config.modalities.items():
        if isinstance(found, ImageModality):
            images[other] = np.broadcast_to(np.uint8(0), (total, found.height, found.width, 3))
        else:
            texts[other] = [""] * total
    if isinstance(modality, ImageModality):
        images[name] = np.concatenate(list(made.values()))
    else:
        texts[name] = [text for kind in made.values() for text in kind]
    present = np.zeros((total, len(config.modalities)), dtype=np.bool_)
    present[:, list(config.modalities).index(name)] = True
    ids = [str(row) for row in range(total)]
    return np.repeat(list(made), count), Split(ids, images, texts, present, {})


def _below(shares: NDArray[np.float64]) -> dict[str, float]:
    return {f"{level:g}": float((shares < level).mean()) for level in BELOW}


def _auroc(ordinary: NDArray[np.float64], strange: NDArray[np.float64]) -> float:
    is_strange = np.repeat([0, 1], [len(ordinary), len(strange)])
    return float(roc_auc_score(is_strange, -np.concatenate([ordinary, strange])))
