"""Plain FastAPI: the model loaded beside the application, one forward a request in a `def` handler.

This is what tutorials teach. FastAPI runs a `def` handler in its pool of threads, so requests share the cores; there is
no batching. The forward is serialised by nothing but the interpreter and torch itself, which tutorials rely on too.

    python -m benchmarks.peers.plain
"""

from __future__ import annotations

import threading
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Form, UploadFile

from benchmarks.peers.common import Setup, make_forward, make_prepare

setup = Setup()
prepare = make_prepare(setup)
# Our runtime is one compiled network that takes one call at a time; torch modules may be called from several threads.
forward = make_forward(setup)
turn = threading.Lock() if setup.variant == "ours" else None
app = FastAPI()


@app.get("/health")
def health() -> dict[str, str]:
    """Ready once the module is imported."""
    return {"status": "ok"}


@app.post("/predict")
def predict(image: UploadFile, text: Annotated[str, Form()]) -> dict[str, Any]:
    """One upload, one forward."""
    item = prepare(image.file.read(), text)
    if turn is None:
        return {"predictions": forward([item])[0]}
    with turn:
        return {"predictions": forward([item])[0]}


if __name__ == "__main__":
    if setup.workers == 1:
        uvicorn.run(app, port=setup.port, log_level="warning")
    else:
        uvicorn.run("benchmarks.peers.plain:app", port=setup.port, log_level="warning", workers=setup.workers)
