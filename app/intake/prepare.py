"""The parts of one request become the item that the network reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import NothingToPredict
from app.intake.image import decode
from app.intake.limits import Limits
from model.config import Config, ImageModality
from model.preprocess import TextTokenizer, normalise_text

_GLANCE = 1000  # characters, among which there mostly is something to see


@dataclass(frozen=True)
class Prepared:
    """What is present of one request, in the order of the config."""

    item: dict[str, NDArray[np.generic]]  # image -> uint8 [H, W, 3]; text -> int64 [n] token ids
    truncated: tuple[str, ...]  # text modalities of which only the beginning was read


def prepare(
    parts: Mapping[str, bytes | str],
    config: Config,
    tokenizers: Mapping[str, TextTokenizer],
    limits: Limits,
    *,
    into: Mapping[str, NDArray[np.uint8]] | None = None,
) -> Prepared:
    """Decode and tokenise every part that is a modality of `config`; a text without a visible character is missing.

    An image part is bytes, a text part str. `into`: image modality -> uint8 [H, W, 3] to hold its pixels, an array of
    their own where there is none. Raises NothingToPredict, TooLarge, UnsupportedFormat, UndecodableImage.
    """
    item: dict[str, NDArray[np.generic]] = {}
    truncated = []
    for name, modality in config.modalities.items():
        part = parts.get(name)
        if part is None:
            continue
        if isinstance(modality, ImageModality):
            if isinstance(part, str):
                raise TypeError(f"part {name!r} is an image and comes as bytes")
            item[name] = decode(part, name, modality, limits, None if into is None else into.get(name))
            continue
        if isinstance(part, bytes):
            raise TypeError(f"part {name!r} is a text and comes as str")
        text = part[: limits.max_text_chars]
        if not (normalise_text(text[:_GLANCE]) or normalise_text(text)):
            continue
        tokens = tokenizers[name](text)
        item[name] = tokens.ids
        if tokens.truncated or len(text) < len(part):
            truncated.append(name)
    if not item:
        raise NothingToPredict(f"Send at least one of these parts, not empty: {', '.join(config.modalities)}.")
    return Prepared(item, tuple(truncated))
