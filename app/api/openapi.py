"""The OpenAPI document: every endpoint with its answers and an example of every refusal, for the models loaded."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from app import __version__
from app.access.gate import Gate
from app.api.problems import KINDS, MEDIA_TYPE, InternalError, document
from app.api.schemas import Problem
from app.api.scopes import may_know, scope_of
from app.errors import ServiceError
from app.serving.pipeline import Pipeline
from model.config import Config, ImageModality

_EXAMPLE_ID = "5f0c2ab8d1e94c07"
_SUMMARY = "One photo and its text go in, once. One shared trunk runs, once. Every task's head answers."
_REF = "#/components/schemas/"
_KEY = "key"  # the security scheme's name
_TEXT: dict[str, Any] = {"type": ["string", "null"]}  # in JSON, where null means that something is left out

OPTION_SCHEMAS: dict[str, dict[str, Any]] = {
    "tasks": {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "description": "tasks to answer; only their heads run. Repeated or separated by commas; all when left out",
    },
    "top_k": {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 3,
        "description": "how many labels a multiclass answer lists",
    },
    "coverage": {
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "description": "probability that sets and intervals hold the true value",
    },
    "explain": {
        "type": "string",
        "enum": ["false", "true", "full"],
        "default": "false",
        "description": "tell what the answer rests on; full: down to cells of the picture and words, in many forwards",
    },
    "model": {"type": "string", "description": "model to ask; the default one when left out"},
}

HEADER_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "X-Deadline-Ms",
        "in": "header",
        "schema": {"type": "integer", "minimum": 1, "maximum": 9_999_999},
        "description": "milliseconds for which an answer is of use, within what the service grants",
    },
    {
        "name": "X-Request-Id",
        "in": "header",
        "schema": {"type": "string"},
        "description": "id to use for the request instead of a made-up one, if it is 1 to 128 of A-Z a-z 0-9 . _ -",
    },
]


def problems(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that can end in any of `errors`, or in a fault of the service."""
    responses: dict[int | str, dict[str, Any]] = {}
    every: tuple[type[ServiceError], ...] = (*errors, InternalError)
    for error in every:
        kind = KINDS[error]
        told = responses.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_REF}Problem"}, "examples": {}}},
            },
        )
        if kind.title not in told["description"]:
            told["description"] += f"; {kind.title[0].lower()}{kind.title[1:]}"
        value = document(error.code, kind, kind.example, _EXAMPLE_ID)
        told["content"][MEDIA_TYPE]["examples"][error.code] = {"summary": kind.title, "value": value}
        if kind.status in (401, 403):
            told["headers"] = {
                "WWW-Authenticate": {"description": "how to authenticate (RFC 6750)", "schema": {"type": "string"}}
            }
        if kind.retry_after is not None:
            told["headers"] = {
                "Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}
            }
    return responses


def install(app: FastAPI, gate: Gate | None) -> None:
    """Make `/openapi.json` describe the models that are loaded by the time it is asked for.

    `gate`: where keys are asked for, who comes without one is told nothing of the models.
    """
    base: dict[str, Any] = {}

    def openapi(known: bool = True) -> dict[str, Any]:
        if not base:
            base.update(_base(app, guarded=gate is not None))
        pipeline: Pipeline = app.state.pipeline
        names = pipeline.registry.names() if known else []
        configs = [pipeline.registry.get(name).bundle.config for name in names]
        operation = {**base["paths"]["/predict"]["post"], "requestBody": _request_body(configs, names)}
        return {**base, "paths": {**base["paths"], "/predict": {"post": operation}}}

    @app.get("/openapi.json", include_in_schema=False)
    async def described(request: Request) -> JSONResponse:
        return JSONResponse(openapi(may_know(gate, request.scope["headers"])))

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


def _base(app: FastAPI, guarded: bool) -> dict[str, Any]:
    base = get_openapi(title="Trunkline", version=__version__, summary=_SUMMARY, routes=app.routes)
    schemas = base["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema(ref_template=_REF + "{model}")
    if guarded:
        about = "an API key: `trunkline keys add NAME` makes one"
        base["components"]["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer", "description": about}}
    for name, path in base["paths"].items():
        for operation in path.values():
            if guarded and (scope := scope_of(name)) is not None:
                operation["security"] = [{_KEY: [scope]}]
            # FastAPI adds its own shape of 422 to whatever has a parameter; nothing here answers in that shape.
            if "422" in operation["responses"] and "HTTPValidationError" in str(operation["responses"]["422"]):
                del operation["responses"]["422"]
            for response in operation["responses"].values():
                response.setdefault("headers", {})["X-Request-Id"] = {
                    "description": "the request's id, as sent or made",
                    "schema": {"type": "string"},
                }
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return base


def _request_body(configs: list[Config], names: list[str]) -> dict[str, Any]:
    """One part a modality of any loaded model, and the options, as multipart and as JSON."""
    form: dict[str, Any] = {}
    body: dict[str, Any] = {}
    tasks: list[str] = []
    for config in configs:
        tasks.extend(task for task in config.tasks if task not in tasks)
        for name, modality in config.modalities.items():
            if isinstance(modality, ImageModality):
                what = "a picture: JPEG, PNG, WebP, GIF (first frame) or BMP"
                form[name] = {"type": "string", "format": "binary", "description": what}
                body[name] = {**_TEXT, "contentEncoding": "base64", "description": f"{what}, in base64"}
            else:
                form[name] = {"type": "string", "description": "a text; a long one is cut"}
                body[name] = {**form[name], **_TEXT}
    options = {name: dict(schema) for name, schema in OPTION_SCHEMAS.items()}
    # In JSON, an option may be written as in a form, too: as a string, several tasks with commas between them.
    loose = {
        name: {**schema, "type": [*dict.fromkeys((schema["type"], *_TEXT["type"]))]} for name, schema in options.items()
    }
    del loose["explain"]["enum"]
    loose["explain"] |= {"type": ["boolean", *_TEXT["type"]], "default": False, "examples": [True, "full"]}
    if configs:
        loose["tasks"]["examples"] = [tasks]
        loose["model"]["examples"] = names
        options["tasks"]["items"] = {"type": "string", "enum": tasks}
        options["model"]["enum"] = names
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": {**form, **options}}},
            "application/json": {
                "schema": {"type": "object", "properties": {**body, **loose}, "additionalProperties": False}
            },
        },
    }
