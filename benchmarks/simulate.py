"""Throughput and latency against load, simulated from what the steps cost alone.

    python -m benchmarks.simulate                                     # measures the steps on this machine first
    python -m benchmarks.simulate --costs limit.json                  # takes them from `python -m benchmarks.limit`
    python -m benchmarks.simulate --plot docs/images/simulation.svg
    python -m benchmarks.simulate --compare benchmarks/results/2026-01-31.json   # beside a run of `make bench`
    python -m benchmarks.simulate --policies                          # other ways to choose a batch

The batcher and the bound on waits are the service's own; see benchmarks/simulation.py. What HTTP costs is an assumption
(`--http`), but with `--compare`, where it is what the server used at 32 clients beyond decode, tokenise and forward.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.serving.runtime import padded_length, run, warm_up
from app.serving.runtimes.choice import choose_runtime
from app.serving.runtimes.graph import longest_text, padded_lengths
from app.threads import plan_threads, usable_cores
from benchmarks import chart
from benchmarks.limit import cost, intake_costs
from benchmarks.simulation import Machine, Policy, Result, closed, opened
from benchmarks.uploads import ROOT, load
from model.bundle import Bundle, load_bundle
from model.preprocess import Item

CLIENTS = (1, 8, 32, 128)
MULTIPLES = (0.5, 1.0, 2.0, 4.0)
_SIZES = (1, 2, 4, 8, 16, 32)
_TURNS = 5
_REFUSAL = 0.1  # of what HTTP costs: the head alone is parsed, no task is made, the body dropped
_PARSING = 0.4
_POLICIES = {
    "the service's": Policy(),
    "all that waits": Policy(sizes=tuple(range(1, 33))),
    "powers of two": Policy(sizes=_SIZES),
    "padded to powers of two": Policy(sizes=tuple(range(1, 33)), padded=_SIZES),
    "no limit to padding": Policy(max_padding=1.0),
    "no bound on the wait": Policy(max_wait=float("inf")),
}


@dataclass(frozen=True)
class Level:
    """One level of load, and what it came to."""

    name: str
    offered: float | None  # requests a second; None for a closed loop
    result: Result


def text_lengths(bundle: Bundle, uploads: int, images: Path | None) -> list[int]:
    """Tokens of the uploads' titles, as the CPU runtimes pad them."""
    (tokenizer,) = bundle.tokenizers.values()
    lengths = padded_lengths(longest_text(bundle.config))
    return [padded_length(len(tokenizer(upload.title).ids), lengths) for upload in load(uploads, images=images)]


def measure_forward(bundle: Bundle, item: Item) -> tuple[dict[int, float], float, int]:
    """Seconds of a forward by batch size, on one thread and with the longest texts; those of a token; the tokens."""
    runtime = choose_runtime(bundle, device="cpu", threads=1)
    warm_up(runtime, bundle.config, _SIZES)
    shortest, longest = runtime.lengths[0], runtime.lengths[-1]

    def seconds(size: int, length: int) -> float:
        items = [
            {name: np.resize(value, length) if value.ndim == 1 else value for name, value in item.items()}
        ] * size  # fmt: skip
        return statistics.median(cost(partial(run, runtime, items))[0] for _ in range(_TURNS))

    largest = _SIZES[-1]
    token = (seconds(largest, longest) - seconds(largest, shortest)) / largest / (longest - shortest)
    return {size: seconds(size, longest) for size in _SIZES}, token, longest


def measured(bundle: Bundle, uploads: int, images: Path | None, http: float) -> Machine:
    """What the steps cost on this machine, each alone."""
    costs, items = intake_costs(bundle, load(uploads, images=images))
    forward, token, tokens = measure_forward(bundle, items[0])
    return machine(forward, costs["decode_core"] + costs["tokenise_core"], http, token=token, tokens=tokens)


def from_limit(limit: dict[str, Any], http: float) -> Machine:
    """What `python -m benchmarks.limit` measured."""
    forward = {int(size): int(size) * row["core"] for size, row in limit["forward"].items()}
    return machine(forward, limit["decode_core"] + limit["tokenise_core"], http)


def machine(forward: dict[int, float], intake: float, http: float, cores: int | None = None, **more: Any) -> Machine:
    """The service as it shares so many cores; all of this machine's when None."""
    plan = plan_threads(cores=cores or usable_cores(), gpu=False)
    return Machine(
        # More threads share the work of a forward; the cores' time for it stays what it is on one.
        forward={size: seconds / plan.forward for size, seconds in forward.items()},
        forward_cores=plan.forward,
        intake=intake,
        intake_threads=plan.intake,
        cores=plan.cores,
        parse=_PARSING * http,
        answer=(1 - _PARSING) * http,
        refuse=_REFUSAL * http,
        **{name: value / plan.forward if name == "token" else value for name, value in more.items()},
    )


def levels(
    machine: Machine, policy: Policy, names: Sequence[str], lengths: Sequence[int], capacity: float = 0.0
) -> Iterator[Level]:
    """Simulate levels by name: `32` clients, or `4x` the capacity, which is the best of the closed loops before."""
    for name in names:
        if name.endswith("x"):
            rate = float(name[:-1]) * capacity
            yield Level(name, rate, opened(machine, policy, rate, lengths=lengths))
        else:
            result = closed(machine, policy, int(name), lengths=lengths)
            capacity = max(capacity, result.throughput)
            yield Level(name, None, result)


def row(level: Level) -> list[str]:
    """A level as a line of the table."""
    result = level.result
    refused = f"{100 * result.refused:.0f} % in {1000 * result.percentile(0.5, result.refusals):.1f} ms"
    return [
        f"{level.name} clients" if level.offered is None else f"{level.name}: {level.offered:.0f}/s",
        f"{result.throughput:.0f}/s",
        f"{1000 * result.percentile(0.5):.1f} ms",
        f"{1000 * result.percentile(0.99):.1f} ms",
        refused if result.refusals else "none",
        f"{result.batch:.1f}",
        f"{100 * result.padding:.1f} %",
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def simulated(machine: Machine, policy: Policy, lengths: Sequence[int]) -> tuple[str, list[Level]]:
    """Every level, and the table of it."""
    names = [*map(str, CLIENTS), *(f"{multiple:g}x" for multiple in MULTIPLES)]
    loads = list(levels(machine, policy, names, lengths))
    head = ("load", "answered", "p50", "p99", "refused (p50)", "mean batch", "text tokens that are padding")
    return table(head, [row(load) for load in loads]), loads


def plot(machine: Machine, lengths: Sequence[int], path: Path) -> None:
    """Draw answers and latency against load, with the bound on the wait and without."""
    capacity = closed(machine, Policy(), 128, lengths=lengths).throughput
    offered = [capacity * share for share in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0)]
    series: dict[str, list[Result]] = {}
    for name, policy in (("bounded", Policy()), ("unbounded", Policy(max_wait=float("inf")))):
        series[name] = [opened(machine, policy, rate, lengths=lengths, seconds=10) for rate in offered]
    panels = [
        chart.Panel("answered a second", {name: [r.throughput for r in results] for name, results in series.items()}),
        chart.Panel(
            "latency of the answered, ms (logarithmic)",
            {
                f"{label}, {name}": [1000 * result.percentile(share) for result in results]
                for name, results in series.items()
                for label, share in (("p50", 0.5), ("p99", 0.99))
            },
            logarithmic=True,
        ),
    ]
    path.write_text(chart.draw([rate / capacity for rate in offered], "offered load, in capacities", panels))


def compare(document: dict[str, Any], lengths: Sequence[int]) -> str:
    """A run of the bench beside its simulation, level by level, medians of the rounds."""
    limits = [unit for unit in document["units"] if unit["server"] == "limit"]
    units = [unit for unit in document["units"] if unit["server"] == "trunkline" and "failed" not in unit]
    measured: dict[str, list[dict[str, Any]]] = {}
    for unit in units:
        for one in unit["rows"]:
            measured.setdefault(one["level"], []).append(one)

    def median(level: str, value: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(value(one) for one in measured[level])

    limit = sorted(limits, key=lambda unit: unit["core_seconds"])[len(limits) // 2]
    busiest = "32" if "32" in measured else next(iter(measured))
    used = median(busiest, lambda one: one["server_cpu_seconds"] / max(1, one["answered"]))
    http = max(0.0, used - limit["core_seconds"])
    client = median(busiest, lambda one: one["generator_cpu_seconds"] / max(1, one["sent"]))
    model = replace(from_limit(limit, http), client=client, cores=document["cores"])
    best = max(median(level, lambda one: one["answered_per_second"]) for level in measured if level[-1] != "x")
    rows = []
    for level in levels(model, Policy(), list(measured), lengths, capacity=best):
        answered = median(level.name, lambda one: one["answered_per_second"])
        cells = [level.name, f"{answered:.0f}", f"{level.result.throughput:.0f}"]
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            found = median(level.name, lambda one, label=label: (one["latency_ms"] or {}).get(label) or 0.0)
            cells += [f"{found:.1f}", f"{1000 * level.result.percentile(share):.1f}"]
        refused = median(level.name, lambda one: one["refused"] / max(1, one["refused"] + one["answered"]))
        rows.append([*cells, f"{100 * refused:.0f} %", f"{100 * level.result.refused:.0f} %"])
    head = ["load", *(f"{what}, {how}" for what in ("answers/s", "p50 ms", "p99 ms", "refused") for how in _HOW)]
    costs = (
        f"Costs: intake {1000 * model.intake:.2f} ms, HTTP {1000 * http:.2f} ms, forward "
        f"{1000 * limit['forward_core']:.2f} ms an item at batch {limit['forward_batch']}, "
        f"load generator {1000 * client:.2f} ms; {document['cores']} cores."
    )
    return f"{costs}\n\n{table(head, rows)}"


_HOW = ("measured", "simulated")


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "weights" / "fashion")
    parser.add_argument("--uploads", type=int, default=64, help="how many different pictures are decoded")
    parser.add_argument("--images", type=Path, help="a folder or a zip file of photos to enlarge instead of drawings")
    parser.add_argument(
        "--costs", type=Path, help="what `python -m benchmarks.limit` printed; measured here when unset"
    )
    parser.add_argument("--http", type=float, default=0.0006, help="core-seconds of HTTP a request")
    parser.add_argument("--policies", action="store_true", help="compare ways to choose a batch")
    parser.add_argument("--plot", type=Path, help="an SVG file to draw")
    parser.add_argument("--compare", type=Path, help="results of a run of the bench")
    arguments = parser.parse_args()
    if arguments.policies and arguments.costs:
        parser.error("--policies needs what a token costs, which is measured here: leave --costs out")
    bundle = load_bundle(arguments.bundle)
    lengths = text_lengths(bundle, arguments.uploads, arguments.images)
    if arguments.compare:
        print(compare(json.loads(arguments.compare.read_text()), lengths))
        return
    if arguments.costs:
        model = from_limit(json.loads(arguments.costs.read_text()), arguments.http)
    else:
        model = measured(bundle, arguments.uploads, arguments.images, arguments.http)
    forward = ", ".join(f"{size}: {1000 * seconds:.2f} ms" for size, seconds in model.forward.items())
    print(f"Intake {1000 * model.intake:.2f} ms on {model.intake_threads} thread(s); forwards on {model.forward_cores}")
    print(f"core(s) by batch size: {forward}; a token of an item {1e6 * model.token:.1f} µs.")
    if model.token:
        rest = model.forward[_SIZES[-1]] / _SIZES[-1] / model.token - model.tokens
        print(f"What is not text costs as much as {rest:.0f} tokens.")
    policies = _POLICIES if arguments.policies else {"": Policy()}
    for name, policy in policies.items():
        print(f"\n{name}\n" if name else "")
        print(simulated(model, policy, lengths)[0])
    if arguments.plot:
        plot(model, lengths, arguments.plot)


if __name__ == "__main__":
    main()
