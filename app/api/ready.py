"""Whether the service can do its work yet, told as the error that it cannot."""

from __future__ import annotations

from fastapi import Request

from app.errors import Draining, EngineUnavailable
from app.serving.pipeline import Pipeline


def require_loaded(request: Request) -> Pipeline:
    """The pipeline once its models are loaded. Raises EngineUnavailable before that."""
    pipeline: Pipeline = request.app.state.pipeline
    if pipeline.state == "starting":
        raise EngineUnavailable(f"The service is still starting: {pipeline.reason}.", retry_after=2.0)
    if pipeline.state == "failed":
        raise EngineUnavailable(
            "The models could not be loaded, or the engine has ended; the log says why.", retry_after=5.0
        )
    return pipeline


def require_ready(request: Request) -> Pipeline:
    """The pipeline while it takes requests. Raises EngineUnavailable or Draining otherwise."""
    pipeline = require_loaded(request)
    if pipeline.state == "draining":
        raise Draining("The service is shutting down; send requests to another instance.", retry_after=5.0)
    return pipeline
