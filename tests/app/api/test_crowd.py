"""Many clients at once: each gets its own answer, and they share forwards."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import httpx
import numpy as np
from PIL import Image

from app.intake import Limits, prepare
from model.bundle import load_bundle
from model.predictor import Predictor
from tests.app.api.harness import PATIENCE, Service, running
from tests.app.intake.pictures import file
from tests.support.tiny import WORDS

CLIENTS, EACH = 64, 4


def inputs(seed: int) -> dict[str, bytes | str]:
    """A photo, a text, or both; no two seeds give the same."""
    rng = np.random.default_rng(seed)
    photo = file(Image.fromarray(rng.integers(0, 256, (20, 16, 3), dtype=np.uint8)), "PNG")
    text = " ".join(rng.choice(WORDS, size=1 + seed % 7)) + f" {seed}"
    return [{"image": photo, "text": text}, {"image": photo}, {"text": text, "image": photo}][seed % 3]


def test_sixty_four_clients_each_get_their_own_answer_in_shared_forwards(tiny: Path) -> None:
    bundle = load_bundle(tiny)
    predictor = Predictor(bundle)
    alone = {}
    for seed in range(CLIENTS * EACH):
        item = prepare(inputs(seed), bundle.config, bundle.tokenizers, Limits()).item
        alone[seed] = predictor([item], ["price", "colour"]).probabilities
    prices = [round(float(outputs["price"][0, 0]), 3) for outputs in alone.values()]
    assert len(set(prices)) > 0.95 * len(prices), "the answers must tell the inputs apart"

    together = Barrier(CLIENTS)

    def client(number: int) -> None:
        with httpx.Client(base_url=service.url, timeout=PATIENCE * 3, trust_env=False) as own:
            together.wait(PATIENCE)
            for seed in range(number * EACH, number * EACH + EACH):
                parts = inputs(seed)
                files = {
                    name: ("p.png", value) if isinstance(value, bytes) else (None, value)
                    for name, value in parts.items()
                }
                response = own.post("/predict", files=files, headers={"X-Request-Id": f"seed-{seed}"})
                assert response.status_code == 200, response.text
                body = response.json()
                assert body["request_id"] == f"seed-{seed}"
                assert body["modalities"] == [name for name in ("image", "text") if name in parts]
                assert abs(body["predictions"]["price"]["value"] - float(alone[seed]["price"][0, 0])) < 1e-3
                top = {entry["label"]: entry["confidence"] for entry in body["predictions"]["colour"]["top"]}
                expected = dict(zip(bundle.config.tasks["colour"].labels, alone[seed]["colour"][0], strict=True))
                assert all(abs(top[label] - expected[label]) < 1e-3 for label in top)

    with running(tiny) as service, ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
        requests, forwards = service.value("batch_size_sum"), service.value("batch_size_count")
        assert requests == CLIENTS * EACH
        assert requests / forwards > 4, f"{requests:g} requests in {forwards:g} forwards"
        assert service.value("requests_total", outcome="ok") == CLIENTS * EACH
        for gauge in ("requests_in_flight", "queue_length", "bytes_in_flight"):
            assert service.value(gauge) == 0


def post(service: Service, body: bytes) -> socket.socket:
    connection = service.connect()
    connection.sendall(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n" + body
    )
    return connection


def test_a_client_that_goes_away_in_the_queue_costs_no_forward(tiny: Path) -> None:
    with running(tiny) as service, ThreadPoolExecutor(1) as others:
        service.runtime.shut()
        first = others.submit(service.client.post, "/predict", json={"text": "red"})
        service.wait_forward()  # the first one is in the engine; what comes now waits
        gone = post(service, b'{"text": "hat"}')
        service.wait_value(1, "queue_length")
        gone.close()
        service.wait_value(0, "queue_length")
        service.wait_value(1, "requests_in_flight")
        assert service.value("requests_total", outcome="cancelled") == 1
        service.runtime.gate.set()
        assert first.result().status_code == 200
        assert [size for size, _ in service.runtime.calls] == [1]


def test_a_client_that_goes_away_while_it_uploads_leaves_nothing_behind(tiny: Path) -> None:
    with running(tiny) as service:
        gone = post(service, b'{"text"')
        service.wait_value(1, "requests_in_flight")
        gone.close()
        service.wait_value(0, "requests_in_flight")
        assert service.value("bytes_in_flight") == 0
        assert service.value("requests_total", outcome="cancelled") == 1
