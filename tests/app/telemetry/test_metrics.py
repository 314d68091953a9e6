"""The text of `/metrics`."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from app.telemetry.metrics import STATES, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_gauges_are_read_when_they_are_shown() -> None:
    metrics = Metrics()
    now = {"in_flight": 0, "bytes": 0, "queue": 0}
    state = "starting"
    metrics.watch(
        in_flight=lambda: now["in_flight"],
        bytes_in_flight=lambda: now["bytes"],
        queue=lambda: now["queue"],
        state=lambda: state,
    )
    now.update(in_flight=3, bytes=1000, queue=2)
    state = "ready"
    shown = samples(metrics)
    assert shown["trunkline_requests_in_flight", ()] == 3
    assert shown["trunkline_bytes_in_flight", ()] == 1000
    assert shown["trunkline_queue_length", ()] == 2
    states = {name: shown["trunkline_engine_state", (("state", name),)] for name in STATES}
    assert states == {"starting": 0, "ready": 1, "draining": 0, "failed": 0}


def test_counts_and_histograms() -> None:
    metrics = Metrics()
    assert samples(metrics)["trunkline_requests_total", (("outcome", "ok"),)] == 0
    for outcome in ("ok", "ok", "queue-full"):
        metrics.request(outcome)
    for size in (1, 3, 32):
        metrics.batch(size)
    metrics.tokens(9, 12)
    metrics.tokens(0, 0)
    metrics.stages({"run": 0.02, "queue": 0.001})
    metrics.bundle("fashion", "1", "abc", "cpu")
    shown = samples(metrics)
    assert shown["trunkline_requests_total", (("outcome", "ok"),)] == 2
    assert shown["trunkline_requests_total", (("outcome", "queue-full"),)] == 1
    assert shown["trunkline_batch_size_sum", ()] == 36
    assert shown["trunkline_batch_size_count", ()] == 3
    assert shown["trunkline_batch_size_bucket", (("le", "4.0"),)] == 2
    assert shown["trunkline_text_tokens_total", (("kind", "read"),)] == 9
    assert shown["trunkline_text_tokens_total", (("kind", "padding"),)] == 3
    assert shown["trunkline_stage_seconds_sum", (("stage", "run"),)] == 0.02
    labels = {"name": "fashion", "version": "1", "digest": "abc", "device": "cpu"}
    assert shown["trunkline_bundle_info", tuple(sorted(labels.items()))] == 1
    assert shown["process_resident_memory_bytes", ()] > 0


def test_refusals_and_waits() -> None:
    metrics = Metrics()
    for bound in ("wait", "wait", "bytes"):
        metrics.refusal(bound)
    for seconds in (0.0, 0.3):
        metrics.expected_wait(seconds)
    shown = samples(metrics)
    assert shown["trunkline_refusals_total", (("bound", "wait"),)] == 2
    assert shown["trunkline_refusals_total", (("bound", "bytes"),)] == 1
    assert shown["trunkline_expected_wait_seconds_count", ()] == 2
    assert shown["trunkline_expected_wait_seconds_bucket", (("le", "0.25"),)] == 1


def test_the_cache() -> None:
    metrics = Metrics()
    assert samples(metrics)["trunkline_cache_requests_total", (("result", "hit"),)] == 0
    assert samples(metrics)["trunkline_cache_bytes", ()] == 0
    held = {"entries": 0, "bytes": 0}
    metrics.watch_cache(entries=lambda: held["entries"], nbytes=lambda: held["bytes"])
    for event in ("miss", "miss", "hit", "joined", "evicted"):
        metrics.cache(event)
    held.update(entries=1, bytes=700)
    shown = samples(metrics)
    results = {name: shown["trunkline_cache_requests_total", (("result", name),)] for name in ("hit", "joined", "miss")}
    assert results == {"hit": 1, "joined": 1, "miss": 2}
    assert shown["trunkline_cache_evictions_total", ()] == 1
    assert (shown["trunkline_cache_entries", ()], shown["trunkline_cache_bytes", ()]) == (1, 700)


def test_two_services_in_one_process_do_not_mix() -> None:
    first, second = Metrics(), Metrics()
    first.request("ok")
    assert samples(second)["trunkline_requests_total", (("outcome", "ok"),)] == 0
