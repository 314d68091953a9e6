"""What each known hostile request costs: the status it ends in, the median time, and memory at the highest.

    python -m benchmarks.hostile [--bundle weights/fashion] [--repeat 5] [--only WORDS]

A service is started in a process of its own, as `trunkline serve --workers 1` is. The requests are those of
`tests/hostile`. The time is from the first byte sent to the last byte of the answer, a large upload included.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hostile.corpus import cases
from tests.hostile.memory import Peak
from tests.hostile.wire import ask

ROOT = Path(__file__).resolve().parent.parent
SLOW = 0.1  # seconds, beyond which a case is marked


@contextmanager
def serving(bundle: Path) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """The process, and the address that it listens on."""
    command = ["serve", "--port", "0", "--workers", "1", "--bundles", str(bundle), "--log-level", "error"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from app.cli import main; main()", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://([0-9.]+):(\d+)", process.stdout.readline())
        if found is None:
            raise SystemExit("the service did not start")
        while not _ready(f"{found[0]}/health/ready"):
            time.sleep(0.1)
        yield process, (found[1], int(found[2]))
    finally:
        process.terminate()
        process.wait()


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def main() -> None:
    """Print a line a case, and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "weights" / "fashion")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name has these words")
    arguments = parser.parse_args()
    medians, grown = [], []
    with serving(arguments.bundle) as (process, address):
        peak = Peak(process.pid)
        print(f"{'case':52} {'status':>6} {'median ms':>10} {'peak MB':>8}")
        for name, case in cases().items():
            if arguments.only not in name:
                continue
            request, taken, statuses = case.make(), [], set()
            peak.forget()
            for _ in range(arguments.repeat):
                began = time.perf_counter()
                statuses.add(ask(address, request, case.half).status)
                taken.append(time.perf_counter() - began)
            medians.append(statistics.median(taken))
            grown.append(peak.grown() >> 20)
            mark = "" if medians[-1] <= SLOW else "  slow"
            mark += "" if statuses <= set(case.statuses) else "  not as promised"
            told = ",".join(map(str, sorted(statuses)))
            print(f"{name[:52]:52} {told:>6} {1000 * medians[-1]:10.1f} {grown[-1]:+8d}{mark}", flush=True)
    if medians:
        slow = sum(median > SLOW for median in medians)
        print(f"\n{len(medians)} cases: median of the medians {1000 * statistics.median(medians):.1f} ms, ", end="")
        print(
            f"{slow} above {1000 * SLOW:.0f} ms, slowest {1000 * max(medians):.1f} ms, most memory {max(grown):+d} MB"
        )


if __name__ == "__main__":
    main()
