"""What is served besides predictions: models, probes, metrics, documentation, the page, and CORS."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.app.api.harness import Service, running


def test_models(client: httpx.Client) -> None:
    listed = client.get("/models").json()
    assert listed["default"] == "tiny"
    assert [model["name"] for model in listed["models"]] == ["tiny"]
    model = client.get("/models/tiny").json()
    assert model == listed["models"][0]
    assert model["tasks"]["colour"] == {"kind": "multiclass", "labels": ["blue", "green", "red"]}
    assert list(model["modalities"]) == ["image", "text"]
    assert set(model["relation"]) == {"tasks", "T", "sigma_theta", "R", "gamma"}


@pytest.mark.parametrize(("probe", "status"), [("live", "live"), ("startup", "started"), ("ready", "ready")])
def test_probes(client: httpx.Client, probe: str, status: str) -> None:
    response = client.get(f"/health/{probe}")
    assert response.status_code == 200
    assert response.json() == {"status": status}


@pytest.mark.parametrize("path", ["/health/live", "/health/startup", "/health/ready", "/models", "/metrics"])
def test_a_probe_may_ask_for_the_head_alone(client: httpx.Client, path: str) -> None:
    response = client.head(path)
    assert response.status_code == 200
    assert response.content == b""
    assert client.head("/predict").status_code == 405


def test_metrics(service: Service) -> None:
    before = service.value("requests_total", outcome="ok")
    forwards = service.value("batch_size_count")
    service.client.post("/predict", json={"text": "red"})
    response = service.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert service.value("requests_total", outcome="ok") == before + 1
    assert service.value("batch_size_count") == forwards + 1
    assert service.value("queue_length") == 0
    for stage in ("admit", "intake", "queue", "run", "answer"):
        assert f'trunkline_stage_seconds_count{{stage="{stage}"}}' in response.text


def test_docs_need_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 4
    for link in links:
        assert "//" not in link
        assert client.get(f"/{link}").status_code == 200, link
    start = client.get("/docs/start.js").text
    assert '"openapi.json"' in start
    assert "validatorUrl: null" in start
    style = client.get("/docs/assets/swagger-ui.css").text
    assert not re.search(r"url\(['\"]?https?:", style)


def test_the_page(client: httpx.Client) -> None:
    assert "text/html" in client.get("/").headers["content-type"]


def test_every_answer_has_a_request_id(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/metrics", "/health/live", "/models", "/openapi.json", "/nope"):
        assert client.get(path, headers={"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"


def test_other_origins_are_shut_out_by_default(client: httpx.Client) -> None:
    response = client.get("/models", headers={"Origin": "https://shop.example"})
    assert "access-control-allow-origin" not in response.headers


def test_listed_origins_are_let_in(tiny: Path) -> None:
    with running(tiny, cors_origins=("https://shop.example",)) as service:
        asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        allowed = service.client.options(
            "/predict", headers={**asked, "Access-Control-Request-Headers": "X-Request-Id"}
        )
        assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
        answer = service.client.post("/predict", json={"text": "red"}, headers={"Origin": "https://shop.example"})
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert "Server-Timing" in answer.headers["access-control-expose-headers"]
        other = service.client.post("/predict", json={"text": "red"}, headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
