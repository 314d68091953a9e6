"""What each stage of a request costs by itself, in core milliseconds; benchmarks/profile.py prints them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from PIL import Image
from starlette.types import Message

from app.api.body import PartLimits, read_multipart
from app.api.predict import PATH
from app.intake import IntakePool, Limits, prepare
from app.intake.jpeg import Frame, decode_scaled, read_frame, reduction, scaled_box
from app.intake.prepare import Prepared
from app.main import create_app
from app.serving.answers import shape
from app.serving.backend import LocalBackend
from app.serving.pipeline import Pipeline
from app.serving.runtime import Pending, run, warm_up
from app.serving.runtimes.choice import choose_runtime
from app.serving.splitting import Row
from app.serving.types import Answer, Options, ServingConfig
from app.settings import Settings
from app.telemetry.metrics import Metrics
from benchmarks.uploads import Upload
from model.bundle import Bundle
from model.config import ImageModality
from model.outputs import Outputs
from model.preprocess import Item, collate, fit

BATCH = 32
_CHUNK = 64 << 10  # what bodies come in
_ROUNDS = 5


def core_ms(work: Callable[[], object], requests: int) -> float:
    """Milliseconds of the processor a request, all threads: the median of several rounds of `work`."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.process_time_ns()
        work()
        rounds.append((time.process_time_ns() - began) / requests / 1e6)
    return statistics.median(rounds)


async def core_ms_of(work: Callable[[], Awaitable[object]], requests: int) -> float:
    """The same of a coroutine function."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.process_time_ns()
        await work()
        rounds.append((time.process_time_ns() - began) / requests / 1e6)
    return statistics.median(rounds)


def intake_stages(bundle: Bundle, uploads: Sequence[Upload]) -> dict[str, float]:
    """The steps of intake."""
    modality = next(m for m in bundle.config.modalities.values() if isinstance(m, ImageModality))
    count = len(uploads)
    frames = [(upload.image, frame) for upload in uploads if (frame := read_frame(upload.image))]
    if len(frames) < count:
        raise ValueError("an upload is not a plain JPEG file")

    def scale(data: bytes, frame: Frame) -> tuple[Any, int]:
        factor = reduction(frame.shown, modality)
        return decode_scaled(data, frame, factor), factor

    scaled = [scale(*one) for one in frames]

    def resize() -> None:
        for (_, frame), (samples, factor) in zip(frames, scaled, strict=True):
            image = Image.fromarray(samples)
            fit(image, modality, None, scaled_box(frame.shown, image.size, factor, frame.orientation))

    def tokenise() -> None:
        for upload in uploads:
            prepare({"text": upload.title}, bundle.config, bundle.tokenizers, Limits())

    return {
        "JPEG header": core_ms(lambda: [read_frame(upload.image) for upload in uploads], count),
        "scaled decode": core_ms(lambda: [scale(*one) for one in frames], count),
        "resize": core_ms(resize, count),
        "tokenise": core_ms(tokenise, count),
    }


def forward_stages(bundle: Bundle, uploads: Sequence[Upload]) -> tuple[dict[str, float], list[Item], Outputs]:
    """Collate and forward at a full batch on one thread; the items, and the outputs of the first batch."""
    parts = [{"image": upload.image, "text": upload.title} for upload in uploads]
    items = [prepare(part, bundle.config, bundle.tokenizers, Limits()).item for part in parts]
    batches = [items[start : start + BATCH] for start in range(0, len(items) // BATCH * BATCH, BATCH)]
    count = BATCH * len(batches)
    runtime = choose_runtime(bundle, device="cpu", threads=1)
    warm_up(runtime, bundle.config, [BATCH])
    together = core_ms(lambda: [collate(batch, bundle.config) for batch in batches], count)
    forward = core_ms(lambda: [run(runtime, batch) for batch in batches], count)
    return {"collate": together, "forward": forward - together}, items, run(runtime, batches[0])


def answer_stage(bundle: Bundle, outputs: Outputs) -> tuple[float, Answer]:
    """From numbers to labels; and an answer."""
    config = bundle.config
    tasks, modalities = tuple(config.tasks), tuple(config.modalities)
    rows = [
        Row({task: values[row] for task, values in outputs.probabilities.items()}, outputs.alpha[row])
        for row in range(BATCH)
    ]

    def answer(row: Row) -> dict[str, dict[str, Any]]:
        return shape(row, tasks, modalities, Options(), config, bundle.calibration, {})

    timings = dict.fromkeys(("admit", "intake", "queue", "run", "answer"), 0.001)
    cost = core_ms(lambda: [answer(row) for row in rows * 10], 10 * BATCH)
    return cost, Answer(bundle.name, bundle.version, modalities, answer(rows[0]), (), timings, BATCH)


class _Switched:
    """A real runtime while a bundle is loaded; once `outputs` is set, one whose forward costs nothing."""

    def __init__(self, bundle: Bundle) -> None:
        self._real = choose_runtime(bundle, device="cpu", threads=1)
        self.name, self.device, self.precision = self._real.name, self._real.device, self._real.precision
        self.in_flight, self.lengths = 1, self._real.lengths
        self.outputs: Outputs | None = None

    def start(self, items: Sequence[Item], tasks: Sequence[str] | None = None, narrowed: Any = None) -> Pending:
        if self.outputs is None:
            return self._real.start(items, tasks, narrowed)
        probabilities = {task: values[: len(items)] for task, values in self.outputs.probabilities.items()}
        return _Ready(Outputs(probabilities, self.outputs.alpha[: len(items)]))


class _Ready:
    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def result(self) -> Outputs:
        return self._outputs


async def pipeline_stages(path: Path, item: Item, outputs: Outputs) -> dict[str, float]:
    """The hop to a thread of the pool and back; and all else: admission, deadlines, batcher, engine, labels."""
    made: list[_Switched] = []

    def make_runtime(bundle: Bundle) -> _Switched:
        made.append(_Switched(bundle))
        return made[-1]

    pool = IntakePool()
    prepared = Prepared(dict(item), ())
    config = ServingConfig((path,), cache_bytes=0, max_wait=60.0)
    backend = partial(LocalBackend, make_runtime=make_runtime)
    pipeline = Pipeline(config, pool, lambda *_, **__: prepared, Metrics(), backend)
    await pipeline.start()
    made[0].outputs = outputs
    hop = await core_ms_of(lambda: _together(lambda: pool.run(abs, 1)), 20 * BATCH)
    whole = await core_ms_of(lambda: _together(lambda: pipeline.predict({"text": "red"}, Options())), 20 * BATCH)
    await pipeline.drain(5.0)
    pool.close()
    return {"pool hop": hop, "pipeline": whole - hop}


async def _together(call: Callable[[], Awaitable[object]]) -> None:
    for _ in range(20):
        await asyncio.gather(*(call() for _ in range(BATCH)))


async def http_stages(path: Path, bundle: Bundle, uploads: Sequence[Upload], answer: Answer) -> dict[str, float]:
    """Taking the body apart; and all else between HTTP server and pipeline: headers, admission, options, JSON."""
    requests = [_form(upload) for upload in uploads]
    limits = PartLimits(dict.fromkeys(bundle.config.modalities, 20 << 20))
    app = create_app(Settings(_env_file=None, bundles=(path,), cache_bytes=0, max_wait=60.0))  # type: ignore[call-arg]
    pipeline: Pipeline = app.state.pipeline
    await pipeline.start()
    sent: list[Message] = []

    async def answered(*_: object, **__: object) -> Answer:
        return answer

    async def send(message: Message) -> None:
        sent.append(message)

    async def split() -> None:
        for body, content_type in requests:
            await read_multipart(_pieces(body), content_type, limits, lambda size: None, len(body))

    async def endpoint() -> None:
        for body, content_type in requests:
            await app(_scope(len(body), content_type), _receiver(body), send)

    with patch.object(pipeline, "predict", answered):
        multipart, whole = await core_ms_of(split, len(requests)), await core_ms_of(endpoint, len(requests))
    await pipeline.drain(5.0)
    if {message["status"] for message in sent[::2]} != {200}:
        raise RuntimeError("a request of the endpoint's stage was not answered")
    return {"multipart": multipart, "endpoint": whole - multipart}


def _form(upload: Upload) -> tuple[bytes, str]:
    """A multipart body as curl writes it, and its content type."""
    boundary = "------------------------d74496d66958873e"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    image = f'{head}image"; filename="upload.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'.encode() + upload.image
    text = f'\r\n{head}text"\r\n\r\n{upload.title}\r\n--{boundary}--\r\n'.encode()
    return image + text, f"multipart/form-data; boundary={boundary}"


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _CHUNK):
        yield body[start : start + _CHUNK]


def _receiver(body: bytes) -> Callable[[], Awaitable[Message]]:
    pieces = [body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK)]
    messages = iter([
        {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
        for number, piece in enumerate(pieces, start=1)
    ])  # fmt: skip

    async def receive() -> Message:
        message = next(messages, None)
        if message is None:
            await asyncio.Event().wait()  # the client stays
            raise AssertionError
        return message

    return receive


def _scope(length: int, content_type: str) -> dict[str, Any]:
    headers = {"host": "localhost", "accept": "*/*", "content-type": content_type, "content-length": str(length)}
    return {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
