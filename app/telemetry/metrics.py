"""What the service tells Prometheus, under `trunkline_*`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

STATES = ("starting", "ready", "draining", "failed")
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One service's metrics, in a registry of their own, so that two services in a process do not mix."""

    def __init__(self) -> None:
        """Register every metric, at zero."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "trunkline_requests", "Requests that ended, by outcome: ok, cancelled, or an error's code.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._requests.labels("ok")
        self._in_flight = Gauge(
            "trunkline_requests_in_flight", "Requests between admission and end.", registry=registry
        )
        self._bytes = Gauge("trunkline_bytes_in_flight", "Upload bytes held by requests in flight.", registry=registry)
        self._queue = Gauge("trunkline_queue_length", "Prepared requests waiting for the engine.", registry=registry)
        self._batch_size = Histogram(
            "trunkline_batch_size", "Requests in a forward.", buckets=_BATCH_SIZES, registry=registry
        )
        self._batch_limit = Gauge(
            "trunkline_batch_limit",
            "Requests in a forward at most; below the largest batch size after the device was short of memory.",
            registry=registry,
        )  # fmt: skip
        self._short_of_memory = Counter(
            "trunkline_out_of_memory",
            "Batches that there was no memory for; each was split and run again.",
            registry=registry,
        )  # fmt: skip
        self._tokens = Counter(
            "trunkline_text_tokens", "Text tokens that forwards ran, by kind: read, or padding to one length a batch.",
            ["kind"], registry=registry,
        )  # fmt: skip
        self._refusals = Counter(
            "trunkline_refusals",
            "Requests refused at admission, by bound: requests, bytes, wait, or the request's own deadline.",
            ["bound"], registry=registry,
        )  # fmt: skip
        self._expected_wait = Histogram(
            "trunkline_expected_wait_seconds", "Seconds that requests had to expect to wait, refused ones included.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._cache = Counter(
            "trunkline_cache_requests",
            "Requests looked up in the cache, by result: hit, miss, or joined to an identical one in flight.",
            ["result"], registry=registry,
        )  # fmt: skip
        self._cache_evictions = Counter(
            "trunkline_cache_evictions", "Answers dropped from the cache to make room.", registry=registry
        )
        self._cache_entries = Gauge("trunkline_cache_entries", "Answers in the cache.", registry=registry)
        self._cache_bytes = Gauge("trunkline_cache_bytes", "Bytes of the answers in the cache.", registry=registry)
        for result in ("hit", "joined", "miss"):
            self._cache.labels(result)
        self._stages = Histogram(
            "trunkline_stage_seconds", "Seconds that an answered request spent in each stage.", ["stage"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._bundles = Gauge(
            "trunkline_bundle_info", "Bundles that are served; always 1.", ["name", "version", "digest", "device"],
            registry=registry,
        )  # fmt: skip
        self._state = Gauge(
            "trunkline_engine_state", "1 at the state that the engine is in, else 0.", ["state"], registry=registry
        )

        # Looking a child up by its label takes longer than counting in it.
        self._outcomes: dict[str, Counter] = {}
        self._by_stage: dict[str, Histogram] = {}

    def watch(
        self,
        *,
        in_flight: Callable[[], int],
        bytes_in_flight: Callable[[], int],
        queue: Callable[[], int],
        state: Callable[[], str],
    ) -> None:
        """Read these gauges at their source whenever they are shown, so that they are exact at any time."""
        self._in_flight.set_function(in_flight)
        self._bytes.set_function(bytes_in_flight)
        self._queue.set_function(queue)
        for name in STATES:
            self._state.labels(name).set_function(partial(_is, state, name))

    def watch_cache(self, *, entries: Callable[[], int], nbytes: Callable[[], int]) -> None:
        """Read what the cache holds whenever it is shown."""
        self._cache_entries.set_function(entries)
        self._cache_bytes.set_function(nbytes)

    def watch_batches(self, largest: Callable[[], int]) -> None:
        """Read how large a batch may be whenever it is shown."""
        self._batch_limit.set_function(largest)

    def out_of_memory(self) -> None:
        """There was no memory for a batch."""
        self._short_of_memory.inc()

    def request(self, outcome: str) -> None:
        """A request ended: `ok`, `cancelled`, or an error's code."""
        child = self._outcomes.get(outcome)
        if child is None:
            child = self._outcomes[outcome] = self._requests.labels(outcome)
        child.inc()

    def refusal(self, bound: str) -> None:
        """A request was refused at admission: for `requests`, `bytes`, `wait` or `deadline`."""
        self._refusals.labels(bound).inc()

    def expected_wait(self, seconds: float) -> None:
        """A request had so long to wait, by the pace of those before it."""
        self._expected_wait.observe(seconds)

    def cache(self, event: str) -> None:
        """A look-up was a `hit`, `joined` or a `miss`, or an answer was `evicted`."""
        if event == "evicted":
            self._cache_evictions.inc()
        else:
            self._cache.labels(event).inc()

    def batch(self, size: int) -> None:
        """A forward ran for `size` requests."""
        self._batch_size.observe(size)

    def tokens(self, read: int, padded: int) -> None:
        """A forward ran `padded` text tokens, of which `read` were of its requests."""
        self._tokens.labels("read").inc(read)
        self._tokens.labels("padding").inc(padded - read)

    def stages(self, seconds: Mapping[str, float]) -> None:
        """An answered request's seconds by stage."""
        for stage, value in seconds.items():
            child = self._by_stage.get(stage)
            if child is None:
                child = self._by_stage[stage] = self._stages.labels(stage)
            child.observe(value)

    def bundle(self, name: str, version: str, digest: str, device: str) -> None:
        """A bundle is served from now on."""
        self._bundles.labels(name, version, digest, device).set(1)

    def render(self) -> tuple[bytes, str]:
        """The text of `/metrics` and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


def _is(state: Callable[[], str], name: str) -> float:
    return float(state() == name)
