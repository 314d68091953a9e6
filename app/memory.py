"""How much memory requests can make the service take, by its settings, whatever clients send."""

from __future__ import annotations

import os
from dataclasses import dataclass

from app.settings import Settings
from app.threads import ThreadPlan

_GIB = 1 << 30
# Bytes a pixel while a picture is decoded and made upright, opaque and small: most for WebP with transparency, which
# Pillow decodes into the canvas of an animation; see tests/faults/test_connection_memory.py.
_DECODING = 24
# Bytes of a connection: uvicorn stops reading beyond 64 KiB, but the event loop's last piece may bring 250 KB more.
_CONNECTION = 384 << 10
# Bytes of a request that is complete: its pixels, tokens and answer, in this process and in the engine's.
_REQUEST = 1 << 20
# A JSON body while it is parsed, beside its own bytes: its strings, its base64 without blanks, the file.
_PARSING = 3
# Of the allocator: what it keeps of what was freed, because other blocks lie between.
_KEPT = 1.15


@dataclass(frozen=True)
class Ceiling:
    """Bytes that requests take at most, beyond what the service takes when it is ready; see docs/deploy.md."""

    uploads: int
    parsing: int
    decoding: int
    connections: int
    answers: int

    @property
    def total(self) -> int:
        """All of it, with what the allocator keeps."""
        return int(_KEPT * (self.uploads + self.parsing + self.decoding + self.connections + self.answers))

    def __str__(self) -> str:
        """One line for the log."""
        parts = (
            f"{value / _GIB:.2f} for {name}"
            for name, value in (
                ("uploads", self.uploads), ("parsing", self.parsing), ("decoding", self.decoding),
                ("connections", self.connections), ("answers", self.answers),
            )
        )  # fmt: skip
        return f"requests take at most {self.total / _GIB:.2f} GiB beyond what a ready service does: {', '.join(parts)}"


def ceiling(settings: Settings, plan: ThreadPlan) -> Ceiling:
    """What the settings bound, for all processes of the service together."""
    # Of asyncio.to_thread, in each process that speaks HTTP.
    parsers = plan.workers * min(32, (os.cpu_count() or 1) + 4)
    largest = (settings.max_image_bytes + settings.max_text_bytes) * 4 // 3
    return Ceiling(
        uploads=settings.max_bytes_in_flight,
        parsing=_PARSING * min(parsers * largest, settings.max_bytes_in_flight),
        decoding=plan.workers * plan.intake * settings.max_pixels * _DECODING,
        connections=settings.max_connections * _CONNECTION,
        answers=settings.max_in_flight * _REQUEST + settings.cache_size,
    )
