"""POST /predict: one request's inputs in, every task's answer out."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from app.api.asked import Asked, asked_in_json, asked_in_parts, model_of_json, model_of_parts
from app.api.body import LARGE_JSON, PartLimits, read_json, read_multipart
from app.api.openapi import HEADER_PARAMETERS, problems
from app.api.problems import KEY_REFUSALS, InternalError, Malformed, UnknownPart, UnsupportedMediaType
from app.api.schemas import Prediction
from app.api.upload import Upload
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
    TooSlow,
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

PATH = "/predict"
router = APIRouter(tags=["predict"])

_MULTIPART, _JSON = "multipart/form-data", "application/json"
_DEADLINE = re.compile(rb"[0-9]{1,7}")
_REFUSALS = (
    Malformed, UnknownModel, TooSlow, TooLarge, UnsupportedMediaType, UnsupportedFormat, NothingToPredict, UnknownPart,
    UnknownTask, InvalidOption, UndecodableImage, QueueFull, InferenceFailed, EngineUnavailable, Draining,
    DeadlineExceeded,
)  # fmt: skip


@router.post(
    PATH,
    response_model=Prediction,
    summary="Predict every task from a photo, its text, or both",
    responses=problems(*_REFUSALS, *KEY_REFUSALS),
    openapi_extra={"parameters": HEADER_PARAMETERS},
)
async def predict(request: Request) -> Response:
    """Send one part a modality, and options beside them, as multipart/form-data or as JSON.

    In JSON a picture is base64. Leave a modality out and the answer is based on the others.
    """
    endpoint: Endpoint = request.app.state.predict
    return await endpoint(request.scope, request.receive)


@dataclass(frozen=True)
class _Head:
    """What a request's headers say, as far as it matters here."""

    media_type: str
    content_type: str
    announced: int | None  # bytes of the body; None where it comes in chunks
    deadline: float  # a time.monotonic() value


class Endpoint:
    """Answers POST /predict from what ASGI gives, without a framework in between; `app.api.direct` calls it."""

    def __init__(self, pipeline: Pipeline, settings: Settings, metrics: Metrics) -> None:
        """Serve what `pipeline` has loaded."""
        self._pipeline = pipeline
        self._settings = settings
        self._metrics = metrics
        self._limits: tuple[int, PartLimits] = (0, PartLimits({}))
        self._uploads: set[Upload] = set()

    def end_uploads(self) -> None:
        """Wait no longer for uploads: the service is ending."""
        for upload in self._uploads:
            upload.give_up(Draining("The service is shutting down, and the upload took too long.", retry_after=5.0))

    async def __call__(self, scope: Scope, receive: Receive) -> Response:
        """The answer to one request. Raises ServiceError, and ClientDisconnect when there is nobody left to hear it."""
        began = time.monotonic()
        with self._counted():
            head = self._read_head(scope, began)
        with self._pipeline.admit(head.announced or 0, head.deadline) as ticket:
            with self._counted():
                upload = Upload(ticket.remaining, self._settings.client_timeout, ticket.arrived)
                self._uploads.add(upload)
                try:
                    async with upload:
                        asked = await self._read_body(head, receive, upload.arrived)
                finally:
                    self._uploads.discard(upload)
            parsed = time.monotonic()
            work = self._pipeline.predict(asked.inputs, asked.options, model=asked.model, ticket=ticket)
            answer = await _while_connected(receive, work)
        return _respond(scope["state"]["request_id"], answer, parsed - began, time.monotonic() - began)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a request that ends in here; `Pipeline.admit` and `Pipeline.predict` count those that end in them."""
        try:
            yield
        except ServiceError as error:
            self._metrics.request(error.code)
            raise
        except (ClientDisconnect, asyncio.CancelledError):
            self._metrics.request("cancelled")
            raise
        except Exception:
            self._metrics.request(InternalError.code)
            raise

    def _read_head(self, scope: Scope, began: float) -> _Head:
        """Raises UnsupportedMediaType or InvalidOption."""
        content_type, announced, deadline = "", None, self._settings.deadline
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value.decode("latin-1")
            elif name == b"content-length" and value.isdigit():
                announced = int(value)
            elif name == b"content-encoding" and value.lower() != b"identity":
                raise UnsupportedMediaType("The body is compressed; send it as it is, without Content-Encoding.")
            elif name == b"x-deadline-ms":
                deadline = self._seconds_allowed(value)
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type not in (_MULTIPART, _JSON):
            shown = media_type[:64] or "a body without a type"
            raise UnsupportedMediaType(f"Send {_MULTIPART} or {_JSON}, not {shown}.")
        if scope["query_string"]:
            raise InvalidOption("Options go into the body, beside the inputs, not into the query string.")
        return _Head(media_type, content_type, announced, began + deadline)

    def _seconds_allowed(self, given: bytes) -> float:
        if not _DEADLINE.fullmatch(given) or int(given) == 0:
            raise InvalidOption("X-Deadline-Ms must be a whole number of milliseconds from 1 to 9999999.")
        # A client may ask for less time than the service grants, never for more.
        return min(int(given) / 1000, self._settings.deadline)

    async def _read_body(self, head: _Head, receive: Receive, hold: Callable[[int], None]) -> Asked:
        """The request's body, sorted into inputs and options of the model that it names."""
        registry = self._pipeline.registry
        limits = self._part_limits(registry)
        total = limits.total if head.media_type == _MULTIPART else limits.total_json
        if head.announced is not None and head.announced > total:
            raise TooLarge(f"The body is larger than the {total} bytes that are taken.")
        stream = _chunks(receive)
        if head.media_type == _MULTIPART:
            parts = await read_multipart(stream, head.content_type, limits, hold, head.announced)
            model = model_of_parts(parts)
            return asked_in_parts(parts, model, registry.get(model).bundle.config)
        document = await read_json(stream, limits, hold)
        model = model_of_json(document)
        config, most = registry.get(model).bundle.config, self._settings.max_text_bytes
        if (head.announced or LARGE_JSON) < LARGE_JSON:
            return asked_in_json(document, model, config, most)
        return await asyncio.to_thread(asked_in_json, document, model, config, most)  # base64 takes its time

    def _part_limits(self, registry: Registry) -> PartLimits:
        """Which part may have how many bytes: the model that a request names may come last, so over all models."""
        names = registry.names()
        if self._limits[0] != len(names):  # models come, none goes
            sizes: dict[str, int] = {}
            for name in names:
                for part, modality in registry.get(name).bundle.config.modalities.items():
                    image = isinstance(modality, ImageModality)
                    size = self._settings.max_image_bytes if image else self._settings.max_text_bytes
                    sizes[part] = max(size, sizes.get(part, 0))
            self._limits = len(names), PartLimits(sizes)
        return self._limits[1]


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it comes. Raises ClientDisconnect."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def _while_connected(receive: Receive, work: Awaitable[Answer]) -> Answer:
    """The result of `work`, which is cancelled when the client goes away. Raises ClientDisconnect then."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        # The body has been read, so nothing else can come.
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        return await work
    except asyncio.CancelledError:
        # The task was cancelled from outside, too, where counting our own cancellation out leaves one.
        if gone and not task.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        watcher.cancel()


def _respond(request_id: str, answer: Answer, parse: float, total: float) -> Response:
    """The answer as JSON, with the time of each stage in milliseconds in `Server-Timing`."""
    body: dict[str, Any] = {
        "request_id": request_id,
        "model": {"name": answer.model, "version": answer.version},
        "modalities": answer.modalities,
        "predictions": answer.predictions,
    }
    if answer.familiarity is not None:
        body["familiarity"] = answer.familiarity
    if answer.truncated:
        body["truncated"] = answer.truncated
    stages = {"parse": parse, **answer.timings, "total": total}
    timing = ", ".join(f"{stage};dur={1000 * seconds:.2f}" for stage, seconds in stages.items())
    return Response(orjson.dumps(body), headers={"Server-Timing": timing}, media_type="application/json")
