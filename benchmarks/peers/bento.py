"""BentoML: a batchable service for inference behind a service that takes single requests.

https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html, "Handle multiple parameters": a batchable
endpoint takes one parameter, so a Pydantic model groups what a request has, and a wrapper service hands it over. The
wrapper reads the upload, whose file is gone before its batch runs, and `to_async` lets it have many requests under way,
which batching needs.

    bentoml serve benchmarks.peers.bento:Products --port 8000
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import bentoml
from pydantic import BaseModel

from benchmarks.peers.common import Setup, make_forward, make_prepare

setup = Setup()


class Upload(BaseModel):
    """What one request has."""

    image: bytes
    text: str


@bentoml.service(workers=setup.workers, traffic={"timeout": 60})
class Inference:
    """Uploads to answers, a batch at a time."""

    def __init__(self) -> None:
        self.prepare = make_prepare(setup)
        self.forward = make_forward(setup)

    @bentoml.api(batchable=True, max_batch_size=setup.batch, max_latency_ms=60000)
    def predict(self, uploads: list[Upload]) -> list[dict[str, Any]]:
        """One forward for the batch."""
        return self.forward([self.prepare(upload.image, upload.text) for upload in uploads])


@bentoml.service(traffic={"timeout": 60})
class Products:
    """Takes single requests."""

    inference = bentoml.depends(Inference)

    @bentoml.api(route="/predict")
    async def predict(self, image: Path, text: str) -> dict[str, Any]:
        """One upload."""
        upload = Upload(image=await asyncio.to_thread(image.read_bytes), text=text)
        answers = await self.inference.to_async.predict([upload])
        return {"predictions": answers[0]}
