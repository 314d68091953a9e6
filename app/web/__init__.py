"""The page at `/`: plain files, read once, served from memory with types, ETags and cache headers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response

__all__ = ["router"]

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
# Pages and scripts change together with the service, so a browser asks each time and mostly hears 304.
_REVALIDATE: Final = "no-cache"
_PICTURES: Final = "public, max-age=86400"


@dataclass(frozen=True)
class _Asset:
    body: bytes
    media_type: str
    etag: str
    cache: str


def _read(folder: Path) -> dict[str, _Asset]:
    """Every file below `folder` by its path; what is not in here is not served, whatever a request asks for."""
    assets = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in _TYPES and path.is_file():
            body = path.read_bytes()
            assets[path.relative_to(folder).as_posix()] = _Asset(
                body=body,
                media_type=_TYPES[path.suffix],
                etag=f'"{hashlib.sha256(body).hexdigest()[:20]}"',
                cache=_PICTURES if path.suffix == ".jpg" else _REVALIDATE,
            )
    return assets


_ASSETS: Final = _read(_FOLDER)

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """The page."""
    return _serve("index.html", request)


@router.api_route("/static/{path:path}", methods=["GET", "HEAD"])
async def asset(path: str, request: Request) -> Response:
    """A file that the page needs, or 404."""
    return _serve(path, request)


def _serve(path: str, request: Request) -> Response:
    found = _ASSETS.get(path)
    if found is None:
        raise HTTPException(404)
    headers = {"ETag": found.etag, "Cache-Control": found.cache}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if found.etag in known:
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type=found.media_type, headers=headers)
