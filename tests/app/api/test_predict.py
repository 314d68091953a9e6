"""What a good request gets: multipart and JSON, photo and text and both, every option."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.api.harness import Service, running
from tests.app.intake.pictures import corners, detailed, file
from tests.support.tiny import make_tiny_bundle, tiny_config

PHOTO = file(corners(), "PNG")
ALL = ["colour", "audience", "sporty", "price", "year"]


def form(client: httpx.Client, *, image: bytes | None = None, **fields: Any) -> dict[str, Any]:
    files = {name: (None, value) for name, value in fields.items()}
    if image is not None:
        files["image"] = ("photo.png", image)
    response = client.post("/predict", files=files)
    assert response.status_code == 200, response.text
    return response.json()


def as_json(client: httpx.Client, **members: Any) -> dict[str, Any]:
    response = client.post("/predict", json=members)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    ("inputs", "modalities"),
    [
        ({"image": PHOTO}, ["image"]),
        ({"text": "red shirt"}, ["text"]),
        ({"image": PHOTO, "text": "red"}, ["image", "text"]),
    ],
    ids=["photo", "text", "both"],
)
def test_multipart_and_json_give_the_same_answer(
    client: httpx.Client, inputs: dict[str, Any], modalities: list[str]
) -> None:
    posted = form(client, **inputs)
    encoded = {name: base64.b64encode(v).decode() if isinstance(v, bytes) else v for name, v in inputs.items()}
    sent = as_json(client, **encoded)
    assert posted.pop("request_id") != sent.pop("request_id")
    assert posted == sent
    assert posted["model"] == {"name": "tiny", "version": "1"}
    assert posted["modalities"] == modalities
    assert list(posted["predictions"]) == ALL
    assert "truncated" not in posted


def test_every_kind_of_task_has_its_shape(client: httpx.Client) -> None:
    predictions = form(client, image=PHOTO, text="red shirt")["predictions"]
    colour = predictions["colour"]
    assert colour["kind"] == "multiclass"
    assert colour["top"][0] == {"label": colour["label"], "confidence": colour["confidence"]}
    assert sum(entry["confidence"] for entry in colour["top"]) == pytest.approx(1, abs=1e-4)
    assert set(predictions["audience"]["confidences"]) == {"kids", "men", "women"}
    assert predictions["sporty"]["label"] in ("no", "yes")
    assert isinstance(predictions["price"]["value"], float)
    assert predictions["year"]["value"] in (2010, 2011, 2012, 2013)
    low, high = predictions["year"]["interval"]
    assert low <= high


@pytest.mark.parametrize("given", [["colour,year"], ["year", "colour"], [" year , colour ,"], ["year", "year,colour"]])
def test_tasks_are_named_in_one_part_or_several(service: Service, given: list[str]) -> None:
    service.runtime.calls.clear()
    text = f"red {given}"  # of its own, so that no kept answer stands in for a forward
    response = service.client.post(
        "/predict", files=[("text", (None, text)), *(("tasks", (None, value)) for value in given)]
    )
    assert set(response.json()["predictions"]) == {"colour", "year"}
    assert [set(tasks or ()) for _, tasks in service.runtime.calls] == [{"colour", "year"}]  # no other head ran


@pytest.mark.parametrize("given", ["year,colour", ["year", "colour"]])
def test_tasks_in_json(client: httpx.Client, given: Any) -> None:
    assert set(as_json(client, text="red", tasks=given)["predictions"]) == {"colour", "year"}


def test_options_in_both_forms(client: httpx.Client) -> None:
    posted = form(client, text="red", top_k="1", coverage="0.5", explain="true", tasks="colour", model="tiny")
    sent = as_json(client, text="red", top_k=1, coverage=0.5, explain=True, tasks=["colour"], model="tiny")
    assert posted["predictions"] == sent["predictions"]
    colour = posted["predictions"]["colour"]
    assert len(colour["top"]) == 1
    assert colour["label"] in colour["set"]
    assert set(colour["explanation"]) >= {"alpha", "beta", "relation"}
    assert colour["explanation"]["alpha"] == {"text": 1}


def test_blank_options_count_as_absent(client: httpx.Client) -> None:
    blank = form(client, text="red", tasks="", top_k=" ", coverage="", explain="", model="")
    absent = as_json(client, text="red", tasks=None, top_k=None, coverage=None, explain=None, model=None, image=None)
    assert blank["predictions"] == absent["predictions"] == form(client, text="red")["predictions"]


def test_a_form_without_a_chosen_file(client: httpx.Client) -> None:
    response = client.post("/predict", files={"image": ("", b""), "text": (None, "red")})
    assert response.json()["modalities"] == ["text"]


def test_data_urls_and_line_breaks_are_base64_too(client: httpx.Client) -> None:
    plain = as_json(client, image=base64.b64encode(PHOTO).decode())
    for variant in ("data:image/png;base64," + base64.b64encode(PHOTO).decode(), base64.encodebytes(PHOTO).decode()):
        assert as_json(client, image=variant)["predictions"] == plain["predictions"]


@pytest.mark.parametrize("text", ["ğüşiöç 漢字 👗🏽", "a\0b", "\u202ered", "e\u0301", "red " * 100_000])
def test_any_text_is_taken_in_both_forms(client: httpx.Client, text: str) -> None:
    posted, sent = form(client, text=text), as_json(client, text=text)
    assert posted["predictions"] == sent["predictions"]
    assert posted.get("truncated") == sent.get("truncated") == (["text"] if len(text) > 100 else None)


def test_lone_surrogates_are_taken(client: httpx.Client) -> None:
    response = client.post(
        "/predict", content=json.dumps({"text": "red \ud800"}), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_the_content_decides_the_format(client: httpx.Client, kind: str) -> None:
    data = file(detailed(200, 300), kind)
    response = client.post("/predict", files={"image": ("holiday.txt", data, "text/plain")})
    assert response.json()["modalities"] == ["image"]


def test_request_id_is_echoed_if_sane(client: httpx.Client) -> None:
    def ask(given: str) -> str:
        response = client.post("/predict", json={"text": "red"}, headers={"X-Request-Id": given})
        assert response.json()["request_id"] == response.headers["x-request-id"]
        return response.headers["x-request-id"]

    assert ask("Order-17_b.2") == "Order-17_b.2"
    assert ask("x" * 128) == "x" * 128
    made = {ask(given) for given in ("x" * 129, "with space", "<script>", "")}
    assert len(made) == 4
    assert all(len(one) == 16 for one in made)


def test_server_timing_tells_every_stage(client: httpx.Client) -> None:
    header = client.post("/predict", json={"text": "red, for the first time"}).headers["server-timing"]
    stages = {entry.split(";dur=")[0]: float(entry.split(";dur=")[1]) for entry in header.split(", ")}
    assert list(stages) == ["parse", "admit", "intake", "queue", "run", "answer", "total"]
    assert 0 < sum(stages.values()) - stages["total"] <= stages["total"] + 0.1


def test_a_bundle_of_other_modalities(tmp_path: Path) -> None:
    """Nothing in the service knows that there are an image and a text."""
    image, text = tiny_config().modalities.values()
    shop = tiny_config(name="shop", modalities={"front": image, "back": image, "title": text, "review": text})
    with running(make_tiny_bundle(tmp_path / "tiny"), make_tiny_bundle(tmp_path / "shop", config=shop)) as service:
        files = {"back": ("b.png", PHOTO), "review": (None, "red " * 50), "model": (None, "shop")}
        answer = service.client.post("/predict", files=files).json()
        assert answer["model"]["name"] == "shop"
        assert answer["modalities"] == ["back", "review"]
        assert answer["truncated"] == ["review"]
        refused = service.client.post("/predict", files={"back": ("b.png", PHOTO)})  # not of the default model
        assert "image, text" in refused.json()["detail"]
        body = service.client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
        parts = body["multipart/form-data"]["schema"]["properties"]
        assert {"image", "text", "front", "back", "title", "review", "tasks"} <= set(parts)
        assert parts["front"]["format"] == "binary"
