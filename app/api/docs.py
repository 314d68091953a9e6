"""GET /docs: the OpenAPI document to read and to try, from files of our own, so that it works without the internet."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

_STATIC: Final = Path(__file__).parent / "static"
_PAGE: Final = (_STATIC / "docs.html").read_text(encoding="utf-8")
_SCRIPT: Final = (_STATIC / "docs.js").read_text(encoding="utf-8")
router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Swagger UI on /openapi.json."""
    return HTMLResponse(_PAGE)


@router.get("/docs/start.js")
async def start() -> Response:
    """What starts it. A file, because the page's policy allows no script within the page."""
    return Response(_SCRIPT, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


def install(app: FastAPI) -> None:
    """Serve the page and its files."""
    app.include_router(router)
    app.mount("/docs/assets", StaticFiles(directory=_STATIC / "swagger"), name="docs-assets")
