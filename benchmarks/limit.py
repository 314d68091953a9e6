"""The limit: what one request's decode, tokenising and forward cost when nothing else is done.

    python -m benchmarks.limit --bundle weights/fashion

Each part runs by itself over the uploads, in this process, with the intake and the runtime that Trunkline serves with.
Core-seconds are the processor time of the whole process. The forward's is that of the best batch size, on one thread,
which spends nothing on handing work around. The wall time of a lone request is given beside it: decode, tokenise, and
the forward at batch 1 on one thread or on every core, whichever is faster. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.intake import Limits, prepare
from app.serving.runtime import run, warm_up
from app.serving.runtimes.choice import choose_runtime
from app.threads import usable_cores
from benchmarks.uploads import ROOT, Upload, load
from model.bundle import Bundle, load_bundle
from model.preprocess import Item

BATCH_SIZES = (1, 4, 8, 16, 32)
_TURNS = 3


def cost(work: Callable[[], Any]) -> tuple[float, float]:
    """Processor seconds of the process and wall seconds of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def intake_costs(bundle: Bundle, uploads: list[Upload]) -> tuple[dict[str, float], list[Item]]:
    """Seconds an upload, decode and tokenise each, median of the turns; and the items."""
    config, tokenizers, limits = bundle.config, bundle.tokenizers, Limits()

    def decode() -> list[Any]:
        return [prepare({"image": upload.image}, config, tokenizers, limits) for upload in uploads]

    def tokenise() -> list[Any]:
        return [prepare({"text": upload.title}, config, tokenizers, limits) for upload in uploads]

    costs: dict[str, float] = {}
    for name, work in (("decode", decode), ("tokenise", tokenise)):
        turns = [cost(work) for _ in range(_TURNS)]
        costs[f"{name}_core"] = statistics.median(cpu for cpu, _ in turns) / len(uploads)
        costs[f"{name}_wall"] = statistics.median(wall for _, wall in turns) / len(uploads)
    both = [prepare({"image": u.image, "text": u.title}, config, tokenizers, limits).item for u in uploads]
    return costs, both


def forward_costs(
    bundle: Bundle, items: list[Item], threads: int, sizes: Sequence[int]
) -> tuple[dict[str, str], dict[int, dict[str, float]]]:
    """What runs the network, and for each batch size the seconds an item: of the processor, of the wall."""
    runtime = choose_runtime(bundle, device="cpu", threads=threads)
    warm_up(runtime, bundle.config, sizes)
    costs = {}
    for size in sizes:
        count = min(len(items), max(24, 2 * size)) // size * size
        batches = [items[start : start + size] for start in range(0, count, size)]

        def forwards(batches: list[list[Item]] = batches) -> None:
            for batch in batches:
                run(runtime, batch)

        turns = [cost(forwards) for _ in range(_TURNS)]
        costs[size] = {
            "core": statistics.median(cpu for cpu, _ in turns) / count,
            "wall": statistics.median(wall for _, wall in turns) / count,
        }
    return {"name": runtime.name, "device": runtime.device, "precision": runtime.precision}, costs


def measure(bundle_path: Path, uploads: list[Upload]) -> dict[str, Any]:
    """The limit of this machine at this moment, in seconds."""
    bundle = load_bundle(bundle_path)
    costs, items = intake_costs(bundle, uploads)
    runtime, one = forward_costs(bundle, items, 1, BATCH_SIZES)
    _, every = forward_costs(bundle, items, usable_cores(), (1,))
    batch = min(one, key=lambda size: one[size]["core"])
    alone = min(one[1]["wall"], every[1]["wall"])
    return {
        "runtime": runtime,
        **costs,
        "forward_core": one[batch]["core"],
        "forward_batch": batch,
        "forward_one_wall": alone,
        "forward": {str(size): row for size, row in one.items()},
        "core_seconds": costs["decode_core"] + costs["tokenise_core"] + one[batch]["core"],
        "alone_seconds": costs["decode_wall"] + costs["tokenise_wall"] + alone,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "weights" / "fashion")
    parser.add_argument("--uploads", type=int, default=64, help="how many different pictures")
    parser.add_argument("--images", type=Path, help="a folder or a zip file of photos to enlarge instead of drawings")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.bundle, load(arguments.uploads, images=arguments.images))))


if __name__ == "__main__":
    main()
