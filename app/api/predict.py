"""POST /predict: one request's inputs in, every task's answer out."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from app.api.asked import Asked, asked_in_json, asked_in_parts, model_of_json, model_of_parts
from app.api.body import PartLimits, read_json, read_multipart
from app.api.openapi import HEADER_PARAMETERS, problems
from app.api.problems import InternalError, Malformed, UnknownPart, UnsupportedMediaType
from app.api.schemas import Prediction
from app.errors import (
    DeadlineExceeded,
    Draining,
    EngineUnavailable,
    InferenceFailed,
    InvalidOption,
    NothingToPredict,
    QueueFull,
    ServiceError,
    TooLarge,
    UndecodableImage,
    UnknownModel,
    UnknownTask,
    UnsupportedFormat,
)
from app.serving.pipeline import Pipeline
from app.serving.registry import Registry
from app.serving.types import Answer
from app.settings import Settings
from app.telemetry.metrics import Metrics
from model.config import ImageModality

router = APIRouter(tags=["predict"])

_MULTIPART, _JSON = "multipart/form-data", "application/json"
_DEADLINE = re.compile(r"[0-9]{1,7}")
_REFUSALS = (
    Malformed, UnknownModel, TooLarge, UnsupportedMediaType, UnsupportedFormat, NothingToPredict, UnknownPart,
    UnknownTask, InvalidOption, UndecodableImage, QueueFull, InferenceFailed, EngineUnavailable, Draining,
    DeadlineExceeded,
)  # fmt: skip


@router.post(
    "/predict",
    response_model=Prediction,
    summary="Predict every task from a photo, its text, or both",
    responses=problems(*_REFUSALS),
    openapi_extra={"parameters": HEADER_PARAMETERS},
)
async def predict(request: Request) -> Response:
    """Send one part a modality, and options beside them, as multipart/form-data or as JSON.

    In JSON a picture is base64. Leave a modality out and the answer is based on the others.
    """
    began = time.monotonic()
    pipeline: Pipeline = request.app.state.pipeline
    with _counted(request):
        media_type, deadline = _read_head(request, began)
    with pipeline.admit(_announced(request), deadline) as ticket:
        with _counted(request):
            try:
                async with asyncio.timeout(ticket.remaining):
                    asked = await _read_body(request, media_type, ticket.resize)
            except TimeoutError:
                raise DeadlineExceeded("The upload did not end before its deadline.") from None
        parsed = time.monotonic()
        answer = await _while_connected(
            request, pipeline.predict(asked.inputs, asked.options, model=asked.model, ticket=ticket)
        )
    return _respond(request.state.request_id, answer, parsed - began, time.monotonic() - began)


@contextmanager
def _counted(request: Request) -> Iterator[None]:
    """Count a request that ends in here; `Pipeline.admit` and `Pipeline.predict` count those that end in them."""
    metrics: Metrics = request.app.state.metrics
    try:
        yield
    except ServiceError as error:
        metrics.request(error.code)
        raise
    except (ClientDisconnect, asyncio.CancelledError):
        metrics.request("cancelled")
        raise
    except Exception:
        metrics.request(InternalError.code)
        raise


def _read_head(request: Request, began: float) -> tuple[str, float]:
    """The body's media type and the deadline. Raises UnsupportedMediaType or InvalidOption."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (_MULTIPART, _JSON):
        raise UnsupportedMediaType(f"Send {_MULTIPART} or {_JSON}, not {media_type[:64] or 'a body without a type'}.")
    if request.scope["query_string"]:
        raise InvalidOption("Options go into the body, beside the inputs, not into the query string.")
    settings: Settings = request.app.state.settings
    return media_type, began + _seconds_allowed(request, settings)


def _seconds_allowed(request: Request, settings: Settings) -> float:
    given = request.headers.get("x-deadline-ms")
    if given is None:
        return settings.deadline
    if not _DEADLINE.fullmatch(given) or int(given) == 0:
        raise InvalidOption("X-Deadline-Ms must be a whole number of milliseconds from 1 to 9999999.")
    # A client may ask for less time than the service grants, never for more.
    return min(int(given) / 1000, settings.deadline)


def _announced(request: Request) -> int:
    """Bytes of the body as its header has them, 0 where it comes in chunks."""
    given = request.headers.get("content-length", "0")
    return int(given) if given.isdecimal() else 0


def _limits(registry: Registry, settings: Settings) -> PartLimits:
    """Which part may have how many bytes: the model that a request names may come last, so over all models."""
    sizes: dict[str, int] = {}
    for name in registry.names():
        for part, modality in registry.get(name).bundle.config.modalities.items():
            size = settings.max_image_bytes if isinstance(modality, ImageModality) else settings.max_text_bytes
            sizes[part] = max(size, sizes.get(part, 0))
    return PartLimits(sizes)


async def _read_body(request: Request, media_type: str, on_size: Callable[[int], None]) -> Asked:
    """The request's body, sorted into inputs and options of the model that it names."""
    registry: Registry = request.app.state.pipeline.registry
    settings: Settings = request.app.state.settings
    limits = _limits(registry, settings)
    total = limits.total if media_type == _MULTIPART else limits.total_json
    if _announced(request) > total:
        raise TooLarge(f"The body is larger than the {total} bytes that are taken.")
    if media_type == _MULTIPART:
        parts = await read_multipart(request.stream(), request.headers["content-type"], limits, on_size)
        model = model_of_parts(parts)
        return asked_in_parts(parts, model, registry.get(model).bundle.config)
    document = await read_json(request.stream(), limits, on_size)
    model = model_of_json(document)
    return asked_in_json(document, model, registry.get(model).bundle.config, settings.max_text_bytes)


async def _while_connected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """The result of `work`, which is cancelled when the client goes away. Raises ClientDisconnect then."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for future in (task, gone):
            if not future.done():
                future.cancel()
                with suppress(asyncio.CancelledError, ServiceError):
                    await future


async def _disconnected(request: Request) -> None:
    """Return when the client has gone away; its body has been read, so nothing else can come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _respond(request_id: str, answer: Answer, parse: float, total: float) -> Response:
    """The answer as JSON, with the time of each stage in milliseconds in `Server-Timing`."""
    body: dict[str, Any] = {
        "request_id": request_id,
        "model": {"name": answer.model, "version": answer.version},
        "modalities": answer.modalities,
        "predictions": answer.predictions,
    }
    if answer.truncated:
        body["truncated"] = answer.truncated
    stages = {"parse": parse, **answer.timings, "total": total}
    timing = ", ".join(f"{stage};dur={1000 * seconds:.2f}" for stage, seconds in stages.items())
    return Response(orjson.dumps(body), headers={"Server-Timing": timing}, media_type="application/json")
