"""LitServe: `LitAPI` with batching on, as https://lightning.ai/docs/litserve/features/batching teaches.

`decode_request` makes the input of one request, LitServe collects up to `max_batch_size` of them for at most
`batch_timeout` seconds, `predict` runs them in one forward, `unbatch` and `encode_response` part the answers. Workers
are processes with a copy of the model each.

    python -m benchmarks.peers.lit
"""

from typing import Any

import litserve as ls
from fastapi import Request

from benchmarks.peers.common import Setup, make_forward, make_prepare


class ProductAPI(ls.LitAPI):
    """The shipped bundle behind LitServe."""

    def setup(self, device: str) -> None:
        """Called once in each worker."""
        setup = Setup()
        self.prepare = make_prepare(setup)
        self.forward = make_forward(setup)

    def decode_request(self, request: Request) -> Any:
        """A multipart form, which LitServe has parsed, to an item. The annotation is what LitServe goes by."""
        return self.prepare(request["image"].file.read(), request["text"])

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Items stay a list; the forward collates them."""
        return inputs

    def predict(self, batch: Any) -> Any:
        """One forward; LitServe does not call `batch` when its largest batch is 1."""
        if self.max_batch_size == 1:
            return self.forward([batch])[0]
        return self.forward(batch)

    def unbatch(self, output: list[Any]) -> list[Any]:
        """An answer for each request."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """The JSON object of one answer."""
        return {"predictions": output}


if __name__ == "__main__":
    setup = Setup()
    api = ProductAPI(max_batch_size=setup.batch, batch_timeout=setup.wait_ms / 1000)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=setup.workers, timeout=60)
    server.run(host="127.0.0.1", port=setup.port, log_level="warning", generate_client_file=False)
