"""What can go wrong with a request, in the service's own terms.

No HTTP here: `app.api` maps each class to a status. `code` is a stable slug that clients may switch on; `detail`
says what was wrong and what to do, and never repeats what the user sent beyond names of tasks, parts and models.
"""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """A request that ends without an answer, for a reason that its sender can be told.

    `retry_after` is in seconds, and set where the same request may succeed later.
    """

    code: ClassVar[str] = "service-error"

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class NothingToPredict(ServiceError):
    """No modality of the bundle is in the request, or all of them are empty."""

    code = "nothing-to-predict"


class UnknownTask(ServiceError):
    """A task was asked for that the bundle does not answer."""

    code = "unknown-task"


class InvalidOption(ServiceError):
    """An option is outside its range."""

    code = "invalid-option"


class UndecodableImage(ServiceError):
    """An image of an accepted format that cannot be decoded."""

    code = "undecodable-image"


class UnsupportedFormat(ServiceError):
    """A file whose content is of no accepted format."""

    code = "unsupported-format"


class TooLarge(ServiceError):
    """An upload, a picture or a text above its limit."""

    code = "too-large"


class TooSlow(ServiceError):
    """A request that does not arrive: its client sends too little of it in too long a time."""

    code = "request-timeout"


class UnknownModel(ServiceError):
    """No bundle of that name is served."""

    code = "unknown-model"


class QueueFull(ServiceError):
    """Too many requests, or too many bytes, are in flight."""

    code = "queue-full"


class Draining(ServiceError):
    """The service is shutting down and takes no new request."""

    code = "draining"


class EngineUnavailable(ServiceError):
    """No engine can run the request: it is still starting, or it has failed."""

    code = "engine-unavailable"


class DeadlineExceeded(ServiceError):
    """The request's deadline passed before its answer was ready."""

    code = "deadline-exceeded"


class InferenceFailed(ServiceError):
    """The network failed on this request, alone."""

    code = "inference-failed"


class Unauthenticated(ServiceError):
    """The service asks for an API key, and none that is valid came with the request."""

    code = "unauthenticated"


class Forbidden(ServiceError):
    """The request may not be made: its key lacks a scope, or it came from where only this machine may ask."""

    code = "forbidden"


class RateExceeded(ServiceError):
    """The key has been used more often than it may be."""

    code = "rate-limited"


class ConcurrencyExceeded(ServiceError):
    """The key has as many requests in flight as it may have."""

    code = "concurrency-limited"
