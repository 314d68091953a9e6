"""The headers that tell a browser what an answer is not for, on every kind of answer."""

from __future__ import annotations

import httpx
import pytest

from tests.app.api.harness import Service

ANSWERS = ["/models", "/metrics", "/health/live", "/openapi.json", "/nope", "/static/main.js", "/docs/start.js",
           "/docs/assets/swagger-ui.css"]  # fmt: skip


def policy(response: httpx.Response) -> dict[str, str]:
    """The content security policy by directive; there is one, and every header of its kind once."""
    assert len(response.headers.get_list("content-security-policy")) == 1
    parts = [part.strip() for part in response.headers["content-security-policy"].split(";")]
    return {name: value for name, _, value in (part.partition(" ") for part in parts)}


def assert_basics(response: httpx.Response) -> None:
    for name, value in (
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ):
        assert response.headers.get_list(name) == [value], name
    assert "server" not in response.headers


@pytest.mark.parametrize("path", ANSWERS)
def test_an_answer_is_no_page(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert_basics(response)
    assert policy(response) == {"default-src": "'none'", "frame-ancestors": "'none'"}


def test_so_is_a_prediction_and_a_refusal(client: httpx.Client) -> None:
    for response in (client.post("/predict", json={"text": "headers"}), client.post("/predict", json={"image": "?"})):
        assert_basics(response)
        assert policy(response)["default-src"] == "'none'"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_runs_its_own_scripts_alone_and_is_framed_nowhere(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert_basics(response)
    directives = policy(response)
    assert directives["default-src"] == directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["cross-origin-opener-policy"] == "same-origin"
    assert response.headers["x-frame-options"] == "DENY"


def test_an_answer_for_lack_of_anything_better_has_them_too(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError

    monkeypatch.setattr(service.pipeline.registry, "names", broken)
    response = service.client.get("/models")
    assert response.status_code == 500
    assert_basics(response)
