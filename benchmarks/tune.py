"""Which threads and workers suit each peer on this machine: what `benchmarks/servers.py` is set to.

    python -m benchmarks.tune --peers benchmarks/.envs --servers mosec-taught,litserve-taught --passes 2

Each peer is started with each choice in turn and loaded by 32 clients. Prints requests/s and the
core-milliseconds of one, which other work on the machine changes less; the best choice first.
"""

from __future__ import annotations

import argparse
import itertools
import math
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bench import Generator
from benchmarks.load import Job
from benchmarks.report import cpu_per_request
from benchmarks.servers import SERVERS, NotReady, Running, Server
from benchmarks.uploads import ROOT, Upload, load

_CLIENTS = 32
# Settings by name: threads of a forward, processes that run it, processes that decode.
_CHOICES: dict[str, dict[str, tuple[int, ...]]] = {
    "plain": {"threads": (1, 2), "workers": (1, 2)},
    "litserve": {"threads": (1, 2), "workers": (1, 2)},
    "mosec": {"threads": (1, 2), "workers": (1, 2), "decoders": (1, 2)},
    "bentoml": {"threads": (1, 2), "workers": (1, 2)},
    "rayserve": {"threads": (1, 2), "workers": (1, 2)},
}


def choices(server: Server) -> Iterator[dict[str, str]]:
    """Every combination of a peer's settings; two threads in each of two workers would be four on two cores."""
    tried = _CHOICES[server.key]
    for values in itertools.product(*tried.values()):
        given = dict(zip(tried, values, strict=True))
        if given["threads"] * given["workers"] <= 2:
            yield {f"PEER_{name.upper()}": str(value) for name, value in given.items()}


def trial(server: Server, uploads: list[Upload], generator: Generator, arguments: Any) -> tuple[float, float]:
    """Answers a second to 32 clients, and core-milliseconds of one; 0 and nan where the server does not start."""
    with tempfile.TemporaryDirectory() as logs:
        running = Running(server, arguments.peers, Path(logs), arguments.bundle)
        try:
            running.wait_ready(uploads[0])
            job = Job(running.port, clients=_CLIENTS, warm=2.0, seconds=arguments.seconds)
            row = generator.run(job, running)
            return row["answered_per_second"], cpu_per_request(row)
        except NotReady:
            return 0.0, math.nan
        finally:
            running.stop()


def main() -> None:
    """Try every choice and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=lambda text: text.split(","), help="all peers when left out")
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--uploads", type=int, default=256)
    parser.add_argument("--bundle", type=Path, default=ROOT / "weights" / "fashion")
    parser.add_argument("--peers", type=Path, default=ROOT / "benchmarks" / ".envs", help="the peers' environments")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped then, too
    uploads, generator = load(arguments.uploads), Generator(arguments.uploads, None)
    for server in SERVERS:
        if server.variant is None or (arguments.servers and server.id not in arguments.servers):
            continue
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(arguments.passes):
            for choice in choices(server):
                tried = replace(server, settings={**server.settings, **choice})
                words = " ".join(f"{name.removeprefix('PEER_').lower()}={value}" for name, value in choice.items())
                found.setdefault(words, []).append(trial(tried, uploads, generator, arguments))
        middle = {words: [median(values) for values in zip(*trials, strict=True)] for words, trials in found.items()}
        for words, (rate, cost) in sorted(middle.items(), key=lambda item: -item[1][0]):
            print(f"{server.id}: {words}: {rate:.0f}/s, {cost:.2f} core-ms", flush=True)
    generator.close()


if __name__ == "__main__":
    main()
