"""Decoding that waits until it may go on."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.app.api.harness import PATIENCE, Service


class Decoding:
    """What a service decodes from now on waits for `may_go`; `texts` are those whose decoding began."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go = threading.Event()
        self.texts: list[str] = []
        self._begun = threading.Semaphore(0)
        prepare = service.pipeline._prepare

        def slowly(parts: Any, *rest: Any, **more: Any) -> Any:
            self.texts.append(str(parts["text"]))
            self._begun.release()
            assert self.may_go.wait(PATIENCE)
            return prepare(parts, *rest, **more)

        monkeypatch.setattr(service.pipeline, "_prepare", slowly)

    def wait_begun(self) -> None:
        """Wait until the decoding of one more has begun."""
        assert self._begun.acquire(timeout=PATIENCE)
