"""The application: rooms put together. `uvicorn app.main:app` serves it with the settings of the environment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from app import __version__
from app.access.gate import Gate
from app.access.usage import Usage
from app.api import docs, health, metrics, models, openapi, predict, problems
from app.api.access import KeyAccess, Local, LocalAccess
from app.api.direct import Application, Direct
from app.api.envelope import Envelope
from app.api.full import Full
from app.intake import IntakePool, prepare
from app.serving.backend import LocalBackend, MakeBackend
from app.serving.pipeline import Pipeline
from app.serving.runtime import MakeRuntime
from app.serving.runtimes.choice import choose_runtime
from app.settings import Settings
from app.telemetry.logs import configure_logging
from app.telemetry.metrics import Metrics
from app.web import router as page

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings | None = None,
    *,
    make_runtime: MakeRuntime | None = None,
    make_backend: MakeBackend | None = None,
    usage: Usage | None = None,
) -> FastAPI:
    """The service as an ASGI application. `make_runtime` replaces what runs the networks, `make_backend` where.

    `usage`: where the use of API keys is counted; in this process alone when None.

    Models load after the application has started, so probes answer meanwhile. Where they cannot be loaded, the
    application stays up and says so in its probes, as where the engine is lost later; `app.state.on_failure`, if
    somebody sets it, hears the reason.
    `app.state.on_ready` hears of the other outcome.
    """
    settings = settings or Settings()
    pool = IntakePool(settings.intake_threads, max_waiting=settings.max_in_flight)
    counted = Metrics()
    if make_backend is None:
        make_runtime = make_runtime or partial(choose_runtime, **settings.runtime_choice())
        make_backend = partial(LocalBackend, make_runtime=make_runtime)
    pipeline = Pipeline(settings.serving(), pool, partial(prepare, limits=settings.limits()), counted, make_backend)

    async def scrape() -> tuple[bytes, str]:
        return counted.render()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(_start(app))
        try:
            yield
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await pipeline.drain(settings.drain_timeout)
            pool.close()

    app = Application(title="Trunkline", version=__version__, lifespan=lifespan, openapi_url=None)
    app.state.settings = settings
    app.state.pipeline = pipeline
    app.state.metrics = counted
    app.state.scrape = scrape
    app.state.predict = predict.Endpoint(pipeline, settings, counted)
    gate = None if settings.keys is None or settings.no_keys else Gate(settings.keys, usage)
    direct: ASGIApp = Direct(app.state.predict)
    app.state.on_failure = app.state.on_ready = None
    problems.install(app)
    for router in (predict.router, models.router, health.router, metrics.router):
        app.include_router(router)
    docs.install(app)
    app.include_router(page)
    openapi.install(app, gate)
    access: Callable[[ASGIApp], ASGIApp] | None = None
    app.state.full = None
    local = Local()
    if gate is not None:
        access = partial(KeyAccess, gate=gate, metrics=counted)
    elif not settings.no_keys:
        access = partial(LocalAccess, local=local)
    # What a key or another site's page is told depends on more than the load.
    if gate is None and not settings.cors_origins:
        app.state.full = Full(pipeline, local if access else lambda scope: True)
    # Inside CORS, because a browser's question what it may send comes without a key.
    if access is not None:
        app.add_middleware(access)
        direct = access(direct)
    if settings.cors_origins:
        cors = partial(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id", "X-Deadline-Ms"],
            expose_headers=["X-Request-Id", "Server-Timing", "Retry-After", "WWW-Authenticate"],
        )
        app.add_middleware(cors)
        direct = cors(direct)
    # Last added is outermost.
    envelope = partial(Envelope, closing=lambda: pipeline.state == "draining")
    app.add_middleware(envelope)
    app.predict = envelope(direct)
    return app


async def _start(app: FastAPI) -> None:
    pipeline: Pipeline = app.state.pipeline
    on_failure: Callable[[str], None] | None = app.state.on_failure
    try:
        await pipeline.start()
    except Exception as error:
        logger.error("the service cannot start: %s", error)
        if on_failure is not None:
            on_failure(str(error))
        return
    on_ready: Callable[[], None] | None = app.state.on_ready
    if on_ready is not None and pipeline.state == "ready":
        on_ready()
    reason = await pipeline.lost()
    if on_failure is not None:
        on_failure(reason)


def __getattr__(name: str) -> FastAPI:
    """`app`, made when it is first asked for: importing this module reads no settings and starts nothing."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    settings = Settings()
    configure_logging(settings.log_level, settings.log_format)
    globals()["app"] = application = create_app(settings)
    return application
