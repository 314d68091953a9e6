"""Probes: /health/live, /health/startup, /health/ready."""

from __future__ import annotations

import orjson
from fastapi import APIRouter, Request, Response

from app.api.openapi import problems
from app.api.ready import require_loaded, require_ready
from app.api.schemas import Health
from app.errors import Draining, EngineUnavailable

router = APIRouter(prefix="/health", tags=["health"])


def _good(status: str) -> Response:
    return Response(orjson.dumps({"status": status}), media_type="application/json")


@router.get("/live", response_model=Health, summary="Can the process go on?", responses=problems(EngineUnavailable))
async def live(request: Request) -> Response:
    """Good as long as the event loop turns and the engine is not lost. Restart the process when it is not."""
    if request.app.state.pipeline.ended:
        raise EngineUnavailable("The engine is lost; the process has to be started again.", retry_after=5.0)
    return _good("live")


@router.get(
    "/startup", response_model=Health, summary="Has the start ended well?", responses=problems(EngineUnavailable)
)
async def startup(request: Request) -> Response:
    """Good once the models are loaded, checked and warmed."""
    require_loaded(request)
    return _good("started")


@router.get(
    "/ready",
    response_model=Health,
    summary="Should requests be sent here?",
    responses=problems(EngineUnavailable, Draining),
)
async def ready(request: Request) -> Response:
    """Good while requests are taken: not before the start has ended, and not once the service is shutting down."""
    require_ready(request)
    return _good("ready")
