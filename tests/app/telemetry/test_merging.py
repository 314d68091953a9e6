"""Figures of several processes, added up as Prometheus would have them."""

from __future__ import annotations

from app.telemetry import merging
from app.telemetry.metrics import Metrics


def counted(ok: int, batches: tuple[int, ...] = (), in_flight: int = 0) -> Metrics:
    metrics = Metrics()
    for _ in range(ok):
        metrics.request("ok")
    for size in batches:
        metrics.batch(size)
    metrics.watch(
        in_flight=lambda: in_flight, bytes_in_flight=lambda: 0, queue=lambda: in_flight, state=lambda: "ready"
    )
    return metrics


def values(families: merging.Snapshot) -> dict[str, float]:
    lines = merging.render(families).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_one_process_renders_as_it_does_alone() -> None:
    metrics = counted(3, (1, 4))
    families = merging.snapshot(metrics.registry, "worker 1")
    alone = [line for line in metrics.render()[0].decode().splitlines() if "process_" not in line]
    assert [line for line in merging.render(families).decode().splitlines() if "process_" not in line] == alone


def test_counters_histograms_and_gauges_add_up() -> None:
    parts = [merging.snapshot(one.registry, "p") for one in (counted(3, (1, 4), 2), counted(5, (4, 32), 7))]
    found = values(merging.merge(parts))
    assert found['trunkline_requests_total{outcome="ok"}'] == 8
    assert found["trunkline_requests_in_flight"] == 9
    assert found["trunkline_batch_size_count"] == 4
    assert found["trunkline_batch_size_sum"] == 41
    assert found['trunkline_batch_size_bucket{le="4.0"}'] == 3
    began = [values(part)['trunkline_requests_created{outcome="ok"}'] for part in parts]
    assert found['trunkline_requests_created{outcome="ok"}'] == min(began)


def test_what_each_process_tells_of_the_same_thing_is_told_once() -> None:
    first = merging.snapshot(counted(1, in_flight=3).registry, "worker 1")
    second = merging.of_others(merging.of_worker(merging.snapshot(counted(1, in_flight=4).registry, "worker 2")))
    engine = merging.of_others(merging.snapshot(counted(0, in_flight=5).registry, "engine"))
    found = values(merging.merge([merging.of_worker(first), second, engine]))
    assert found['trunkline_engine_state{state="ready"}'] == 1
    assert found["trunkline_queue_length"] == 5


def test_figures_of_the_processes_stay_apart() -> None:
    parts = [merging.snapshot(Metrics().registry, name) for name in ("engine", "worker 1")]
    found = values(merging.merge(parts))
    for name in ("engine", "worker 1"):
        assert found[f'process_resident_memory_bytes{{process="{name}"}}'] > 0


def test_of_a_process_that_ended_only_its_counts_remain() -> None:
    families = merging.of_ended(merging.snapshot(counted(6, (2,), 4).registry, "worker 1"))
    found = values(families)
    assert found['trunkline_requests_total{outcome="ok"}'] == 6
    assert found["trunkline_batch_size_count"] == 1
    assert not any(name.startswith(("process_", "trunkline_requests_in_flight")) for name in found)
