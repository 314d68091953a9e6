"""Log records in both forms, and what they leave out."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from app.errors import QueueFull
from app.telemetry.logs import configure_logging

SECRET = "red shirt of the customer"
log = logging.getLogger("trunkline.test")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level


def fail(error: Exception) -> None:
    try:
        raise error
    except type(error):
        log.exception("it failed")


def test_json_is_one_object_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    log.info("ready on %s", "cpu", extra={"request_id": "r1", "seconds": 0.5, "text": SECRET})
    fail(QueueFull("The queue is full."))
    log.debug("not shown")
    first, second = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert {**first, "time": None} == {
        "time": None,
        "level": "info",
        "logger": "trunkline.test",
        "message": "ready on cpu",
        "request_id": "r1",
        "seconds": 0.5,
    }
    assert second["exception"][0] == "app.errors.QueueFull: The queue is full."
    assert any("test_logs.py" in place and place.endswith("fail") for place in second["exception"])


def test_plain_is_readable(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "plain")
    log.info("not shown")
    log.warning("slow", extra={"seconds": 2})
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("WARNING trunkline.test: slow seconds=2")


@pytest.mark.parametrize("form", ["plain", "json"])
def test_an_exceptions_message_is_kept_out_where_it_may_quote_input(
    form: Literal["plain", "json"], capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging("debug", form)
    try:
        raise ValueError(SECRET)
    except ValueError:
        fail(KeyError(SECRET))
    shown = capfd.readouterr().err
    assert "builtins.KeyError" in shown
    assert "builtins.ValueError" in shown
    assert SECRET not in shown


def test_access_lines_are_not_logged(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "plain")
    logging.getLogger("uvicorn.access").info('"POST /predict?text=%s"', SECRET)
    logging.getLogger("uvicorn.error").info("Started")
    assert SECRET not in (shown := capfd.readouterr().err)
    assert "Started" in shown
