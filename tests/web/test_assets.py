"""The page's files: served whole, typed, revalidated, and fit for a strict content security policy."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator

import anyio.from_thread
import httpx
import pytest
from fastapi import FastAPI

from app.web import router


class Site:
    """The page's router in an application of its own, asked without a socket."""

    def __init__(self, portal: anyio.from_thread.BlockingPortal) -> None:
        application = FastAPI()
        application.include_router(router)
        self._portal = portal
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://site")

    def get(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        return self._portal.call(lambda: self._client.request(method, path, headers=headers))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with anyio.from_thread.start_blocking_portal() as portal:
        yield Site(portal)


def references(site: Site) -> set[str]:
    """Every path that the page, its scripts and its samples name, followed from `/`."""
    found = {"/"}
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        text = site.get(path).text
        folder = posixpath.dirname(path)
        if path == "/":
            named = [name for name in re.findall(r'(?:href|src)="([^"#]+)"', text) if name.startswith("/static/")]
        elif path.endswith(".js"):
            imports = re.findall(r' from "\./([^"]+)"', text)
            named = [f"{folder}/{name}" for name in imports] + re.findall(r'"(/static/[^"$]+)"', text)
        elif path.endswith("samples.json"):
            named = [f"{folder}/{sample['picture']}" for sample in json.loads(text)]
        else:
            named = []
        waiting += [name for name in named if name not in found and not name.endswith((".jpg", ".svg"))]
        found.update(named)
    return found


def test_everything_the_page_names_is_served_with_its_type(site: Site) -> None:
    types = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".json": "application/json"}
    paths = references(site)
    assert {"/static/main.js", "/static/api.js", "/static/answers.css", "/static/samples/shoe.jpg"} <= paths
    for path in paths:
        answer = site.get(path)
        expected = "text/html" if path == "/" else types.get(posixpath.splitext(path)[1], "image/jpeg")
        assert answer.status_code == 200, path
        assert answer.headers["content-type"].split(";")[0] == expected, path
        assert answer.content, path


def test_the_page_needs_nothing_inline_and_nothing_from_elsewhere(site: Site) -> None:
    page = site.get("/").text
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=", page) == []
    for path in references(site):
        if path == "/" or path.endswith((".js", ".css")):
            text = site.get(path).text
            assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text) == [], path
            assert re.findall(r"\binnerHTML\b|\bouterHTML\b|\beval\(|document\.write|@import|url\(", text) == [], path


def test_a_file_that_has_not_changed_is_not_sent_again(site: Site) -> None:
    first = site.get("/static/main.js")
    again = site.get("/static/main.js", **{"if-none-match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert site.get("/static/main.js", **{"if-none-match": '"other"'}).status_code == 200


def test_head_answers_without_a_body(site: Site) -> None:
    answer = site.get("/", method="HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(site.get("/").content)


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/nothing.js",
        "/static/../__init__.py",
        "/static/%2e%2e/__init__.py",
        "/static/..%2f__init__.py",
        "/static//etc/passwd",
        "/static/samples",
    ],
)
def test_nothing_but_the_page_s_own_files_is_served(site: Site, path: str) -> None:
    assert site.get(path).status_code == 404
