"""The pictures of some rows, for every image modality of a config."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from model.config import Config, ImageModality
from model.data.images import ImageStore, Look, Pixels, Progress
from model.data.source import Source
from model.data.table import Row, fill


class Pictures:
    """Decodes the rows' pictures, or finds them in the cache. Use as a context manager, see ImageStore."""

    def __init__(
        self, config: Config, source: Source, rows: Sequence[Row], cache: Path, progress: Progress | None
    ) -> None:
        self.looks: dict[str, list[Look]] = {}
        self._stores: dict[str, ImageStore] = {}
        with ExitStack() as stack:
            for name, modality in config.modalities.items():
                if isinstance(modality, ImageModality):
                    files = [fill(modality.path, row) for row in rows]
                    store = ImageStore(source, files, modality, cache, f"decode {name}", progress or _silent)
                    self._stores[name] = stack.enter_context(store)
                    self.looks[name] = store.look()
            self._stack = stack.pop_all()

    def take(self, positions: Sequence[int]) -> dict[str, Pixels]:
        """The pictures of the rows at these positions: modality -> uint8 [n, H, W, 3]."""
        return {name: store.take(positions) for name, store in self._stores.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""
