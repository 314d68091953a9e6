"""GET /models and /models/{name}: what is served."""

from __future__ import annotations

import orjson
from fastapi import APIRouter, Request, Response

from app.api.openapi import problems
from app.api.problems import KEY_REFUSALS
from app.api.ready import require_loaded
from app.api.schemas import ModelDescription, ModelList
from app.errors import EngineUnavailable, UnknownModel

router = APIRouter(tags=["models"])


@router.get(
    "/models",
    response_model=ModelList,
    summary="List the models",
    responses=problems(EngineUnavailable, *KEY_REFUSALS),
)
async def models(request: Request) -> Response:
    """Every model with its inputs and tasks, the default one first."""
    registry = require_loaded(request).registry
    described = [registry.get(name).bundle.describe() for name in registry.names()]
    body = {"default": registry.default().bundle.name, "models": described}
    return Response(orjson.dumps(body), media_type="application/json")


@router.get(
    "/models/{name}",
    response_model=ModelDescription,
    summary="Describe a model",
    responses=problems(UnknownModel, EngineUnavailable, *KEY_REFUSALS),
)
async def model(request: Request, name: str) -> Response:
    """Inputs, tasks with their labels, the relation between tasks, provenance and measured quality."""
    bundle = require_loaded(request).registry.get(name).bundle
    return Response(orjson.dumps(bundle.describe()), media_type="application/json")
