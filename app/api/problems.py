"""Every refusal as problem+json (RFC 9457), with the request's id; one table says which status each has."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import ClassVar

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.errors import (
    ConcurrencyExceeded,
    DeadlineExceeded,
    Draining,
    EngineUnavailable,
    Forbidden,
    InferenceFailed,
    InvalidOption,
    NothingToPredict,
    QueueFull,
    RateExceeded,
    ServiceError,
    TooLarge,
    TooSlow,
    Unauthenticated,
    UndecodableImage,
    UnknownModel,
    UnknownTask,
    UnsupportedFormat,
)

MEDIA_TYPE = "application/problem+json"
logger = logging.getLogger(__name__)


class Malformed(ServiceError):
    """A body or a header that cannot be parsed."""

    code: ClassVar[str] = "malformed-request"


class UnsupportedMediaType(ServiceError):
    """A body of a content type that the endpoint does not read."""

    code: ClassVar[str] = "unsupported-media-type"


class UnknownPart(ServiceError):
    """A part that is neither a modality of the bundle nor an option."""

    code: ClassVar[str] = "unknown-part"


class NotFound(ServiceError):
    """No endpoint has that path."""

    code: ClassVar[str] = "not-found"


class MethodNotAllowed(ServiceError):
    """The path has other methods."""

    code: ClassVar[str] = "method-not-allowed"


class InternalError(ServiceError):
    """A fault of the service itself."""

    code: ClassVar[str] = "internal-error"


@dataclass(frozen=True)
class Kind:
    """How a class of errors is told: its status, its title, and an example for the documentation."""

    status: int
    title: str
    example: str
    retry_after: int | None = None


KINDS: dict[type[ServiceError], Kind] = {
    Malformed: Kind(400, "Malformed request", "The multipart body ends before its closing boundary."),
    Unauthenticated: Kind(401, "No valid API key", "Send an API key, as the header 'Authorization: Bearer KEY'."),
    Forbidden: Kind(403, "Not allowed", "This needs a key with the scope admin; this key has predict."),
    NotFound: Kind(404, "Not found", "Nothing is served at this path; GET /docs lists what is."),
    UnknownModel: Kind(404, "Unknown model", "No model 'shoes'; the models are fashion."),
    MethodNotAllowed: Kind(405, "Method not allowed", "This path takes POST."),
    TooSlow: Kind(
        408, "Request too slow", "The upload has brought 2048 bytes in 10 seconds; send faster, or a smaller picture."
    ),
    TooLarge: Kind(413, "Too large", "Part 'image' is larger than the 20971520 bytes that are taken."),
    UnsupportedMediaType: Kind(
        415, "Unsupported content type", "Send multipart/form-data or application/json, not text/plain."
    ),
    UnsupportedFormat: Kind(
        415,
        "Not an accepted picture format",
        "Part 'image' is not a picture in a format that is taken; send JPEG, PNG, WebP, GIF or BMP.",
    ),
    NothingToPredict: Kind(422, "Nothing to predict from", "Send at least one of these parts, not empty: image, text."),
    UnknownPart: Kind(
        422,
        "Unknown part",
        "No part 'photo'; the inputs are image, text, the options tasks, top_k, coverage, explain, model.",
    ),
    UnknownTask: Kind(422, "Unknown task", "No task 'colour'; the tasks are gender, articleType, baseColour."),
    InvalidOption: Kind(422, "Invalid option", "top_k is 500; give a whole number from 1 to 100."),
    UndecodableImage: Kind(
        422, "Picture cannot be decoded", "Part 'image' begins as JPEG but cannot be decoded; it may be cut off."
    ),
    QueueFull: Kind(429, "Too many requests", "The service is at its limit; try again shortly.", retry_after=1),
    RateExceeded: Kind(
        429, "Too many requests with this key", "This key may ask 50 times a second; slow down.", retry_after=1
    ),
    ConcurrencyExceeded: Kind(
        429,
        "Too many requests in flight with this key",
        "This key may have 8 requests in flight at a time; wait for one to end.",
        retry_after=1,
    ),
    InternalError: Kind(500, "Internal error", "The service failed on this request; its log has the request id."),
    InferenceFailed: Kind(500, "Inference failed", "The network failed on this request, and on no other."),
    EngineUnavailable: Kind(503, "No engine", "The model is still loading.", retry_after=2),
    Draining: Kind(
        503, "Draining", "The service is shutting down; send the request to another instance.", retry_after=5
    ),
    DeadlineExceeded: Kind(
        504, "Past deadline", "The deadline passed before the answer was ready; allow more time or try again later."
    ),
}

# What a request to an endpoint that needs a key can end in before it gets there.
KEY_REFUSALS = (Unauthenticated, Forbidden, RateExceeded, ConcurrencyExceeded)


def document(code: str, kind: Kind, detail: str, request_id: str) -> dict[str, object]:
    """The members of a problem, as they go over the wire."""
    return {
        "type": f"urn:trunkline:problem:{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "request_id": request_id,
    }


def response(error: ServiceError, request_id: str) -> Response:
    """The HTTP response that tells of `error`."""
    kind = KINDS.get(type(error)) or KINDS[InternalError]
    seconds = error.retry_after if error.retry_after is not None else kind.retry_after
    # Retry-After is whole seconds; rounding up never sends a client back too early.
    headers = {} if seconds is None else {"Retry-After": str(max(1, math.ceil(seconds)))}
    body = orjson.dumps(document(error.code, kind, error.detail, request_id))
    return Response(body, kind.status, headers, MEDIA_TYPE)


def told(error: ServiceError, request_id: str) -> Response:
    """The response to a request that ended in `error`; what is a fault of the service goes into the log, too."""
    if isinstance(error, InferenceFailed):
        logger.error("inference failed", exc_info=error, extra={"request_id": request_id})
    return response(error, request_id)


def internal(request_id: str) -> Response:
    """The response to a fault of our own: it gives nothing away but the id to look for in the log."""
    return response(InternalError(KINDS[InternalError].example), request_id)


def install(app: FastAPI) -> None:
    """Make every error that a request can end in a problem document."""

    async def service_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)
        return told(error, request.state.request_id)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        told: ServiceError = Malformed(str(error.detail))
        if error.status_code == 404:
            told = NotFound(KINDS[NotFound].example)
        elif error.status_code == 405:
            told = MethodNotAllowed(f"This path takes {(error.headers or {}).get('Allow', 'another method')}.")
        answer = response(told, request.state.request_id)
        answer.headers.update(error.headers or {})
        return answer

    async def validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return response(InvalidOption(faults), request.state.request_id)

    app.add_exception_handler(ServiceError, service_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)
