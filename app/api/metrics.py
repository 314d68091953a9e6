"""GET /metrics: counts and times for Prometheus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from app.api.openapi import problems
from app.api.problems import KEY_REFUSALS

router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    summary="Metrics in Prometheus' text format",
    responses=problems(*KEY_REFUSALS),
)
async def metrics(request: Request) -> Response:
    """Requests by outcome, requests in flight, queue length, batch sizes, seconds by stage."""
    scrape: Callable[[], Awaitable[tuple[bytes, str]]] = request.app.state.scrape
    body, media_type = await scrape()
    return Response(body, headers={"Content-Type": media_type})
