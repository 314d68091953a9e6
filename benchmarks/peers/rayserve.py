"""Ray Serve: a FastAPI ingress with `@serve.batch`, one deployment, as its guides build it.

https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html, https://docs.ray.io/en/latest/serve/http-guide.html.
`num_replicas` are processes with a copy of the model each. The dashboard, access logs and usage statistics are off.

    python -m benchmarks.peers.rayserve
"""

import asyncio
import signal
from typing import Annotated, Any

import ray
from fastapi import FastAPI, Form, UploadFile
from ray import serve
from ray.serve.schema import LoggingConfig

from benchmarks.peers.common import Setup, make_forward, make_prepare

setup = Setup()
app = FastAPI()


@serve.deployment(
    num_replicas=setup.workers,
    ray_actor_options={"num_cpus": 1},
    max_ongoing_requests=256,
    logging_config=LoggingConfig(enable_access_log=False),
)
@serve.ingress(app)
class Products:
    """The shipped bundle in one replica."""

    def __init__(self) -> None:
        self.prepare = make_prepare(setup)
        self.forward = make_forward(setup)

    @serve.batch(max_batch_size=setup.batch, batch_wait_timeout_s=setup.wait_ms / 1000)
    async def run(self, items: list[Any]) -> list[dict[str, Any]]:
        """One forward for the batch."""
        return self.forward(items)

    @app.post("/predict")
    async def predict(self, image: UploadFile, text: Annotated[str, Form()]) -> dict[str, Any]:
        """One upload; decoding goes to a thread, so that the event loop takes other requests meanwhile."""
        item = await asyncio.to_thread(self.prepare, await image.read(), text)
        return {"predictions": await self.run(item)}


if __name__ == "__main__":
    ray.init(
        num_cpus=setup.workers,
        include_dashboard=False,
        object_store_memory=200 << 20,
        _memory=2 << 30,
        logging_level="warning",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": setup.port})
    serve.run(Products.bind(), name="products", route_prefix="/")
    try:
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    finally:
        ray.shutdown()
