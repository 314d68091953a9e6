"""Nothing that a request names is fetched, opened or loaded: not by intake, and not by the service around it."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.errors import ServiceError
from app.intake import Limits, prepare
from model.bundle import load_bundle
from tests.app.processes.service import Service
from tests.hostile import pictures
from tests.hostile.test_corpus import address
from tests.hostile.wire import ask, document, form, part, picture, post

# What an interpreter tells of before it does it: files, sockets, processes, code from data.
TOUCHES = ("open", "socket.", "subprocess.", "os.", "shutil.", "urllib.", "pickle.find_class", "exec", "compile")
_heard: list[str] | None = None


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if _heard is not None and event.startswith(TOUCHES):
        _heard.append(f"{event} {arguments!r}"[:200])


@contextmanager
def listening() -> Iterator[list[str]]:
    """What this process touches meanwhile."""
    global _heard
    heard = _heard = []
    try:
        yield heard
    finally:
        _heard = None


@pytest.fixture(scope="module")
def intake(tiny: Path) -> Callable[[bytes], object]:
    bundle = load_bundle(tiny)

    def take(data: bytes) -> object:
        try:
            return prepare({"image": data}, bundle.config, bundle.tokenizers, Limits())
        except ServiceError as error:
            return error

    for kind in pictures.KINDS:
        take(pictures.good(kind))  # decoders are imported when they are first needed
    sys.addaudithook(_hear)  # there is no way to remove it
    return take


def test_the_hook_hears_what_it_is_there_for(tmp_path: Path) -> None:
    sys.addaudithook(_hear)
    with listening() as heard:
        (tmp_path / "x").write_bytes(b"")
    assert any(event.startswith("open ") for event in heard)


@pytest.mark.parametrize("name", {**pictures.other_formats(), **pictures.polyglots(), **pictures.pretenders()})
def test_intake_touches_nothing(intake: Callable[[bytes], object], name: str) -> None:
    data = {**pictures.other_formats(), **pictures.polyglots(), **pictures.pretenders()}[name]
    with listening() as heard:
        intake(data)
    assert heard == []


class Canary(http.server.ThreadingHTTPServer):
    """A server that nobody should ask."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        self.visitors: list[object] = []
        self.url = f"http://127.0.0.1:{self.server_port}/x.png"

    def verify_request(self, request: object, client_address: object) -> bool:
        self.visitors.append(client_address)
        return False


def test_the_service_fetches_no_url_wherever_it_stands(service: Service, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("hunter2-hunter2")
    with Canary() as canary:
        serving = threading.Thread(target=canary.serve_forever)
        serving.start()
        try:
            for url in (canary.url, secret.as_uri()):
                svg = f'<svg xmlns:x="http://www.w3.org/1999/xlink"><image x:href="{url}"/></svg>'.encode()
                xmp = f"http://ns.adobe.com/xap/1.0/\0<x href='{url}'/>".encode()
                segment = b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp
                requests = (
                    picture(url.encode()),
                    picture(svg),
                    picture(pictures.jpeg(segment)),
                    document({"image": url}),
                    document({"image": {"url": url}}),
                    document({"image_url": url}),
                    document({"text": url}),
                    post(form(part("image", b"", f'; filename="{url}"'), part("text", b"red"))),
                    post(form(part("image", url.encode(), f'; filename="{secret}"\r\nContent-Location: {url}'))),
                )
                for request in requests:
                    answer = ask(address(service), request)
                    assert answer.status < 500
                    assert b"hunter2" not in answer.body
        finally:
            canary.shutdown()
            serving.join()
    assert canary.visitors == []
