"""Logging: one line or one JSON object a record, to standard error, and never what a user sent.

An exception's message may quote its input (a UnicodeDecodeError holds the bytes), so it is shown only for types that
do not; the others show their type and the places in the code.
"""

from __future__ import annotations

import json
import logging
import logging.config
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from app.errors import ServiceError
from model.bundle import BundleError
from model.config import ConfigError

# Their messages hold tasks, shapes, files and devices.
_SAFE_MESSAGES = (ServiceError, BundleError, ConfigError, RuntimeError, MemoryError, OSError, ImportError)
# What a record may carry besides its message, given as `extra=`.
_FIELDS = ("request_id", "method", "route", "status", "outcome", "seconds", "model", "batch_size")

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class PlainFormatter(logging.Formatter):
    """For people: time, level, logger, message, fields."""

    def __init__(self) -> None:
        """Fix the line's layout."""
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the places in the code where there was an exception."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        lines = [self.formatMessage(record) + fields]
        if record.exc_info:
            lines += describe_exception(record.exc_info)
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """For machines: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            document["exception"] = describe_exception(record.exc_info)
        return json.dumps(document, ensure_ascii=False, default=str)


def configure_logging(level: str = "info", format: Literal["plain", "json"] = "plain") -> None:
    """Send every logger's records to standard error in one form. `level`: debug, info, warning or error."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"chosen": {"()": JsonFormatter if format == "json" else PlainFormatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "chosen"}},
            "root": {"level": level.upper(), "handlers": ["stderr"]},
            "loggers": {
                "uvicorn": {"handlers": [], "propagate": True},
                "uvicorn.error": {"handlers": [], "propagate": True},
                # Its lines hold the whole request line, query and all.
                "uvicorn.access": {"handlers": [], "propagate": False},
                # At debug level these log every byte of a body.
                "python_multipart": {"level": "WARNING"},
                "PIL": {"level": "WARNING"},
            },
        }
    )


def describe_exception(info: ExceptionInfo) -> list[str]:
    """Type, message where it is safe, and places in the code, outermost first; causes before effects."""
    error = info[1]
    if error is None:
        return []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = describe_exception((type(cause), cause, cause.__traceback__)) if cause is not None else []
    message = f": {error}" if isinstance(error, _SAFE_MESSAGES) else ""
    lines.append(f"{type(error).__module__}.{type(error).__qualname__}{message}")
    lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(info[2])]
    return lines


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
