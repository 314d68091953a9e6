"""Pictures that hurt the network which reads them, where `inject` was called in its process."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent / "injected"
CRASH_AT_LOAD = "HURT_AT_LOAD"  # an environment variable with the path of a file: where that exists, loading crashes
KILL, HANG, FREEZE, BREAK, POISON, COLLATE = range(201, 207)


def environment(**more: str) -> dict[str, str]:
    """For a service whose network is hurt by signs."""
    return {"PYTHONPATH": os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")]), **more}


def signed(sign: int, seed: int = 0) -> bytes:
    """A picture of the tiny bundle's size with a sign in its corner, as a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    pixels[0, :2] = _corner(sign)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def sign_of(items: Sequence[Any]) -> int | None:
    """The first sign in a batch."""
    for item in items:
        if "image" in item and (item["image"][0, :2] == _corner(int(item["image"][0, 0, 0]))).all():
            return int(item["image"][0, 0, 0])
    return None


def _corner(sign: int) -> np.ndarray:
    return np.array([[sign, 1, 2], [3, 4, sign]], np.uint8)


class Hurt:
    """A runtime that does what the signs say before it does its work."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def start(self, items: Sequence[Any], tasks: Sequence[str] | None = None, narrowed: Any = None) -> Any:
        sign = sign_of(items)
        if sign == COLLATE:
            raise ValueError("cannot be collated")
        pending = self._inner.start(items, tasks, narrowed)
        return type("Hurting", (), {"result": lambda _: self._result(pending, sign)})()

    def _result(self, pending: Any, sign: int | None) -> Any:
        if sign == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif sign == HANG:
            threading.Event().wait()
        elif sign == FREEZE:
            ctypes.PyDLL(None).sleep(3600)  # with the interpreter's lock: no thread of the process goes on
        elif sign == BREAK:
            self._broken = True
        if self._broken or sign == POISON:
            raise ValueError("the forward fails")
        return pending.result()


def inject() -> None:
    """Let signs hurt whatever network this process builds."""
    from app.serving.runtimes import choice

    choose: Callable[..., Any] = choice.choose_runtime

    def choose_hurt(*arguments: Any, **more: Any) -> Any:
        marker = os.environ.get(CRASH_AT_LOAD)
        if marker and Path(marker).exists():
            os.abort()
        return Hurt(choose(*arguments, **more))

    choice.choose_runtime = partial(choose_hurt)
