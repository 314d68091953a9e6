"""Several processes, as one service: what one process answers, and what is left when one of them is killed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.serving.types import Options
from tests.app.processes.service import PATIENCE, Load, Service, alive, as_form, as_request, serving, status, until
from tests.app.serving.bench import parts, running
from tests.support.tiny import make_tiny_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def service(tiny: Path) -> Iterator[Service]:
    with serving(tiny) as service:
        yield service
        pids = service.pids()
        assert len(pids) == 3
        with Load(service) as load, service.connect() as accepted:
            load.wait(30)
            request = as_request(parts(0))
            accepted.sendall(request[:-9])
            until(lambda: service.metrics()["trunkline_bytes_in_flight"] >= len(request) // 2)
            service.process.send_signal(signal.SIGTERM)
            until(lambda: status(service.url) == 503)
            accepted.sendall(request[-9:])
            assert accepted.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            assert service.process.wait(PATIENCE) == 0
        assert {status for status in load.outcomes if isinstance(status, int)} <= {200, 503}, load.outcomes
        assert not load.without_retry
        assert not any(alive(pid) for pid in pids.values())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_answers_are_those_of_one_process(service: Service, tiny: Path) -> None:
    async with running(tiny) as bench:
        with service.client() as client:
            for seed in range(6):
                given = parts(seed)
                asked = client.post("/predict", files=as_form(given))
                here = await bench.pipeline.predict(given, Options())
                there = asked.json()["predictions"]
                assert there.keys() == here.predictions.keys()
                for task, prediction in here.predictions.items():
                    assert there[task].get("label") == prediction.get("label")
                    if "confidence" in prediction:
                        np.testing.assert_allclose(there[task]["confidence"], prediction["confidence"], atol=5e-3)


def test_a_scrape_shows_the_whole_service_whoever_answers_it(service: Service) -> None:
    ok = 'trunkline_requests_total{outcome="ok"}'
    before = service.metrics()[ok]
    with Load(service) as load:
        load.wait(40)
    for _ in range(4):
        found = service.metrics()
        assert found[ok] - before == load.outcomes[200]
        assert found["trunkline_requests_in_flight"] == found["trunkline_queue_length"] == 0
        assert found['trunkline_engine_state{state="ready"}'] == 1
        processes = {name for key in found for name in re.findall(r'^process_resident\w+{process="(.*)"}', key)}
        assert processes == {"supervisor", "engine", "worker 1", "worker 2"}
    assert found["trunkline_batch_size_sum"] >= found[ok]


def test_shared_memory_has_no_name_that_could_be_left_behind(service: Service) -> None:
    for name, pid in service.pids().items():
        mapped = Path(f"/proc/{pid}/maps").read_text()
        assert mapped.count("/memfd:trunkline-slots") == (4 if name == "engine" else 1)
        assert "/dev/shm/" not in mapped


def test_both_workers_take_connections_that_come_at_once(service: Service) -> None:
    clients = [service.client() for _ in range(16)]
    for client in clients:
        assert client.get("/health/live").status_code == 200
    connections = [count_connections(service.pids()[name], service.url) for name in ("worker 1", "worker 2")]
    for client in clients:
        client.close()
    assert sum(connections) == 16
    assert min(connections) >= 2


def count_connections(pid: int, url: str) -> int:
    """Established TCP connections of a process to the service's port."""
    port = f":{int(url.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {line[9] for line in lines if line[1].endswith(port) and line[3] == "01"}
    links = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()]
    return sum(link in {f"socket:[{inode}]" for inode in inodes} for link in links)


def test_an_engine_that_is_killed_is_replaced_and_nobody_hangs(service: Service) -> None:
    with Load(service) as load:
        load.wait(20)
        before = service.kill("engine")
        until(lambda: status(service.url) == 503)
        service.wait_ready()
        load.wait(20)
    assert service.pids()["engine"] != before
    assert set(load.outcomes) <= {200, 503}, load.outcomes
    assert not load.without_retry
    assert "the engine ended, by SIGKILL" in "".join(service.log)


def test_a_worker_that_is_killed_is_replaced_and_the_other_goes_on(service: Service) -> None:
    ok = 'trunkline_requests_total{outcome="ok"}'
    counted = service.metrics()[ok]
    with Load(service) as load:
        load.wait(20)
        before = service.kill("worker 1")
        load.wait(20)
        until(lambda: service.pids().get("worker 1", before) != before)
        load.wait(20)
    # Connections to the one that was killed break; every other request is answered, and no worker answers unready.
    assert set(load.outcomes) <= {200, "ReadError", "RemoteProtocolError", "WriteError"}, load.outcomes
    assert service.metrics()[ok] >= counted
    assert status(service.url) == 200


def test_when_the_supervisor_is_killed_the_others_end(tiny: Path) -> None:
    with serving(tiny, "--drain-timeout", "1") as service:
        pids = service.pids()
        service.process.kill()
        service.process.wait()
        until(lambda: not any(alive(pid) for pid in pids.values()))


def test_a_bundle_that_cannot_be_served_ends_them_all_with_the_reason(tmp_path: Path) -> None:
    service = Service("--workers", "2", "--bundles", str(tmp_path / "nope"))
    try:
        assert service.process.wait(60) == 1
    finally:
        service.end()
    assert f"trunkline: {tmp_path / 'nope'}: no such folder" in "".join(service.log)
    assert "Traceback" not in "".join(service.log)
