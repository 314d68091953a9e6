"""Bounds on one request's inputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How large a picture or a text may be."""

    max_image_bytes: int = 20 << 20
    max_pixels: int = 50_000_000  # width times height, as the file's header has them
    max_text_chars: int = 100_000  # what lies behind is not read
