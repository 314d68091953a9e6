"""The OpenAPI document is complete: every endpoint, every answer, every refusal with an example."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from app.api.problems import KINDS
from app.api.schemas import Health, ModelDescription, ModelList, Prediction, Problem
from tests.app.api.test_refusals import BODIES

PATHS = {
    "/predict": "post",
    "/models": "get",
    "/models/{name}": "get",
    "/health/live": "get",
    "/health/ready": "get",
    "/health/startup": "get",
    "/metrics": "get",
}


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def test_every_endpoint_is_there(document: dict[str, Any]) -> None:
    assert {path: next(iter(methods)) for path, methods in document["paths"].items()} == PATHS
    assert document["info"]["title"] == "Trunkline"


@pytest.mark.parametrize("path", PATHS)
def test_every_refusal_has_an_example_that_fits_the_schema(document: dict[str, Any], path: str) -> None:
    responses = document["paths"][path][PATHS[path]]["responses"]
    refusals = {status: response for status, response in responses.items() if status != "200"}
    assert "500" in refusals
    for status, response in refusals.items():
        content = response["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert response["description"]
        assert content["examples"]
        for code, example in content["examples"].items():
            problem = Problem.model_validate(example["value"])
            assert problem.status == int(status)
            assert problem.type == f"urn:trunkline:problem:{code}"
        if status in ("429", "503"):
            assert "Retry-After" in response["headers"]
    assert "200" in responses
    assert "HTTPValidationError" not in str(document)


def test_predict_declares_every_refusal_that_it_can_give(document: dict[str, Any]) -> None:
    responses = document["paths"]["/predict"]["post"]["responses"]
    told = {
        (int(status), code)
        for status, response in responses.items()
        for content in response["content"].values()
        for code in content.get("examples", {})
    }
    assert {(status, code) for _, _, status, code, _ in BODIES.values()} <= told
    others = {"queue-full", "engine-unavailable", "draining", "deadline-exceeded", "inference-failed", "internal-error"}
    assert others <= {code for _, code in told}
    assert {kind.status for kind in KINDS.values()} - {405} == {status for status, _ in told}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*map(references, value.values())) if value else own
        return set().union(*map(references, value)) if isinstance(value, list) and value else set()

    assert references(document) <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_the_body_lists_the_models_inputs_and_options(document: dict[str, Any]) -> None:
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    form = content["multipart/form-data"]["schema"]["properties"]
    body = content["application/json"]["schema"]["properties"]
    assert list(form) == list(body) == ["image", "text", "tasks", "top_k", "coverage", "explain", "model"]
    assert form["image"]["format"] == "binary"
    assert body["image"]["contentEncoding"] == "base64"
    assert form["tasks"]["items"]["enum"] == ["colour", "audience", "sporty", "price", "year"]
    assert form["model"]["enum"] == ["tiny"]
    assert body["tasks"]["examples"] == [form["tasks"]["items"]["enum"]]
    headers = document["paths"]["/predict"]["post"]["parameters"]
    assert [header["name"] for header in headers] == ["X-Deadline-Ms", "X-Request-Id"]


@pytest.mark.parametrize("name", ["image", "tasks", "top_k", "coverage", "explain", "model"])
def test_what_json_may_leave_out_or_write_as_a_string_is_declared(
    client: httpx.Client, document: dict[str, Any], name: str
) -> None:
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"string", "null"} <= set(body[name]["type"])
    for value in (None, ""):
        assert client.post("/predict", json={"text": "red", name: value}).status_code == 200


def test_answers_fit_the_declared_schemas(client: httpx.Client) -> None:
    body = {"text": "red shirt " * 30, "explain": True, "coverage": 0.8}
    answer = Prediction.model_validate(client.post("/predict", json=body).json())
    assert answer.predictions["colour"].explanation is not None
    assert answer.truncated == ["text"]
    listed = ModelList.model_validate(client.get("/models").json())
    assert ModelDescription.model_validate(client.get("/models/tiny").json()) == listed.models[0]


@pytest.mark.parametrize("schema", [Prediction, ModelDescription, ModelList, Health])
def test_every_answer_has_an_example_that_fits_its_schema(schema: type[BaseModel]) -> None:
    extra = schema.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    schema.model_validate(extra["example"])
