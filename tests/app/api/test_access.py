"""Keys over HTTP: who is let in where, how the others are told, and that without keys only this machine may ask."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.access.file import add_key, revoke_key
from app.access.keys import Key, Scope, make_key
from app.api.scopes import scope_of
from tests.app.api.harness import Service, is_problem, running

BODY = {"text": "red shirt"}
OPEN = ["/", "/docs", "/docs/start.js", "/docs/assets/swagger-ui.css", "/openapi.json", "/static/main.js",
        "/health/live", "/health/ready", "/health/startup"]  # fmt: skip


def add(file: Path, id: str, *scopes: Scope, rate: float | None = None, concurrent: int | None = None) -> str:
    """A key of this id, as a header's value."""
    taken = {f"{place:03x}" for place in range(4096)} - {id}
    text, key = make_key(f"key-{id}", taken, scopes, rate, concurrent)
    assert isinstance(key, Key)
    add_key(file, key)
    return f"Bearer {text}"


class Guarded:
    """A service that asks for keys, and some of them."""

    def __init__(self, service: Service, file: Path) -> None:
        self.service, self.client, self.file = service, service.client, file
        self.predict = add(file, "001", "predict")
        self.admin = add(file, "002", "admin")
        self.wait_for(self.admin, "/metrics")

    def ask(self, path: str, key: str | None, **more: str) -> httpx.Response:
        headers = {**({} if key is None else {"Authorization": key}), **more}
        if path == "/predict":
            return self.client.post(path, json=BODY, headers=headers)
        return self.client.get(path, headers=headers)

    def wait_for(self, key: str, path: str, status: int = 200) -> httpx.Response:
        """Ask until the file of keys was looked at."""
        ends = time.monotonic() + 20
        while (answer := self.ask(path, key)).status_code != status:
            assert time.monotonic() < ends, answer.text
            time.sleep(0.02)
        return answer


@pytest.fixture(scope="module")
def guarded(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    with running(tiny, keys=file, cors_origins=("https://shop.example",), max_image_bytes=1 << 20) as service:
        yield Guarded(service, file)


@pytest.mark.parametrize("path", OPEN)
def test_probes_and_pages_are_open(guarded: Guarded, path: str) -> None:
    assert guarded.ask(path, None).status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/models", "/models/tiny", "/metrics", "/nope", "/admin/reload"])
def test_everything_else_needs_a_key(guarded: Guarded, path: str) -> None:
    answer = guarded.ask(path, None)
    assert is_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="trunkline"'
    for wrong in (
        "Bearer tl_001_wrong",
        f"{guarded.predict[:-1]}-",
        guarded.predict.replace("Bearer", "Basic"),
        "Bearer",
        guarded.predict.removeprefix("Bearer "),
        "Bearer \xe9",
    ):
        answer = guarded.client.request("GET", path, headers={"Authorization": wrong.encode("latin-1")})
        assert is_problem(answer, 401, "unauthenticated"), wrong
        assert answer.headers["www-authenticate"] == 'Bearer realm="trunkline", error="invalid_token"'


def test_every_endpoint_is_open_on_purpose_or_needs_a_key(guarded: Guarded) -> None:
    scopes = {path: scope_of(path) for path in guarded.service.app.openapi()["paths"]}
    assert {path for path, scope in scopes.items() if scope is None} == {path for path in OPEN if "health" in path}
    assert {path for path, scope in scopes.items() if scope == "admin"} == {"/metrics"}


def test_a_key_opens_what_its_scope_says(guarded: Guarded) -> None:
    for path in ("/predict", "/models", "/models/tiny"):
        assert guarded.ask(path, guarded.predict).status_code == 200
    assert guarded.ask("/metrics", guarded.admin).status_code == 200
    assert guarded.ask("/metrics", guarded.predict.replace("Bearer", "bearer")).status_code == 403


@pytest.mark.parametrize(("path", "scope"), [("/metrics", "admin"), ("/predict", "predict"), ("/models", "predict")])
def test_a_key_without_the_scope_is_told_which(guarded: Guarded, path: str, scope: str) -> None:
    answer = guarded.ask(path, guarded.predict if scope == "admin" else guarded.admin)
    assert is_problem(answer, 403, "forbidden")
    assert answer.headers["www-authenticate"] == (
        f'Bearer realm="trunkline", error="insufficient_scope", scope="{scope}"'
    )


def test_two_keys_at_once_are_none(guarded: Guarded) -> None:
    headers = [("Authorization", guarded.predict), ("Authorization", guarded.predict)]
    assert guarded.client.get("/models", headers=headers).status_code == 401


def test_a_key_in_the_address_is_not_read(guarded: Guarded) -> None:
    text = guarded.predict.removeprefix("Bearer ")
    assert guarded.client.get("/models", params={"key": text, "access_token": text}).status_code == 401


def test_whoever_is_refused_is_counted_and_keeps_no_upload_in(guarded: Guarded) -> None:
    def count() -> float:
        metrics = guarded.ask("/metrics", guarded.admin).text
        line = next((s for s in metrics.splitlines() if 'requests_total{outcome="unauthenticated"}' in s), "x 0")
        return float(line.rpartition(" ")[2])

    before = count()
    answer = guarded.client.post("/predict", files={"image": ("a.jpg", b"x" * 500_000)})
    assert is_problem(answer, 401, "unauthenticated")
    assert count() == before + 1
    assert "trunkline_bytes_in_flight 0.0" in guarded.ask("/metrics", guarded.admin).text


def test_a_key_is_revoked_while_the_service_runs(guarded: Guarded) -> None:
    key = add(guarded.file, "003", "predict")
    guarded.wait_for(key, "/models")
    revoke_key(guarded.file, "key-003")
    assert is_problem(guarded.wait_for(key, "/models", 401), 401, "unauthenticated")
    assert guarded.ask("/models", guarded.predict).status_code == 200


def test_a_rate_and_when_to_come_back(guarded: Guarded) -> None:
    key = add(guarded.file, "004", "predict", rate=0.1)
    guarded.wait_for(key, "/predict")
    answer = guarded.ask("/predict", key)
    assert is_problem(answer, 429, "rate-limited")
    assert int(answer.headers["retry-after"]) in (9, 10)
    assert guarded.ask("/predict", guarded.predict).status_code == 200


def test_requests_in_flight_of_a_key(guarded: Guarded) -> None:
    key = add(guarded.file, "005", "predict", concurrent=1)
    guarded.wait_for(key, "/models")
    with guarded.service.connect() as uploading:
        uploading.sendall(
            f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n"
            "Content-Length: 20\r\n\r\n{".encode()
        )
        answer = guarded.wait_for(key, "/models", 429)
        assert is_problem(answer, 429, "concurrency-limited")
        assert guarded.ask("/models", guarded.predict).status_code == 200
    guarded.wait_for(key, "/models")  # the client is gone, and so is its request


def test_a_browser_asks_what_it_may_send_without_a_key(guarded: Guarded) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    allowed = guarded.client.options("/predict", headers={**asked, "Access-Control-Request-Headers": "Authorization"})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert "Authorization" in allowed.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in allowed.headers
    refused = guarded.ask("/predict", None, Origin="https://shop.example")
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://shop.example", "or a page could not read why"
    other = guarded.client.options("/predict", headers={**asked, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_strangers_are_told_nothing_of_the_models(guarded: Guarded) -> None:
    stranger = guarded.ask("/openapi.json", None)
    assert "tiny" not in stranger.text
    assert "colour" not in str(stranger.json()["paths"]["/predict"]["post"]["requestBody"])
    assert stranger.text == guarded.ask("/openapi.json", "Bearer wrong").text
    assert "tiny" in guarded.ask("/openapi.json", guarded.predict).text


def test_the_description_says_what_needs_a_key(guarded: Guarded, client: httpx.Client) -> None:
    document = guarded.ask("/openapi.json", guarded.predict).json()
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    needed = {
        path: [scope for each in operation.get("security", []) for scopes in each.values() for scope in scopes]
        for path, operations in document["paths"].items()
        for operation in operations.values()
    }
    assert needed == {path: [scope] if (scope := scope_of(path)) else [] for path in document["paths"]}
    for path, scopes in needed.items():
        answers = next(iter(document["paths"][path].values()))["responses"]
        assert ({"401", "403", "429"} <= set(answers)) is bool(scopes)
    assert "securitySchemes" not in client.get("/openapi.json").json()["components"]


def test_without_keys_a_name_that_leads_here_is_not_enough(client: httpx.Client) -> None:
    """A hostile page in a browser on this machine asks its own name, which it lets lead to 127.0.0.1."""
    for path in ("/models", "/metrics"):
        assert is_problem(client.get(path, headers={"Host": "evil.example"}), 403, "forbidden")
        assert client.get(path, headers={"Host": "localhost:8000"}).status_code == 200
    assert client.post("/predict", json=BODY, headers={"Host": "evil.example:80"}).status_code == 403
    assert client.get("/health/ready", headers={"Host": "evil.example"}).status_code == 200


def test_no_keys_is_open_to_every_name_and_outdoes_a_file_of_keys(tiny: Path, tmp_path: Path) -> None:
    with running(tiny, no_keys=True, keys=tmp_path / "none.json") as service:
        assert service.client.post("/predict", json=BODY, headers={"Host": "shop.example"}).status_code == 200
