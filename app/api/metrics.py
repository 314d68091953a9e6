"""GET /metrics: counts and times for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from app.api.openapi import problems
from app.telemetry.metrics import Metrics

router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics", response_class=PlainTextResponse, summary="Metrics in Prometheus' text format", responses=problems()
)
async def metrics(request: Request) -> Response:
    """Requests by outcome, requests in flight, queue length, batch sizes, seconds by stage."""
    collected: Metrics = request.app.state.metrics
    body, media_type = collected.render()
    return Response(body, headers={"Content-Type": media_type})
