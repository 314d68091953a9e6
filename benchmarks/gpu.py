"""What a GPU does with a bundle: the same answers as the CPU, and how fast, alone and behind the service.

    python -m benchmarks.gpu

For the shipped bundle, and for a network of production size at 224 pixels that is made on the fly with random weights:
answers of the CUDA runtime against the CPU's in every shape of batch, the forward by itself for each batch size, the
runtime around it, and `trunkline serve` under the load of several client processes, with what GPU and cores did
meanwhile. Needs no network. A JSON document goes to standard output (and to `--out`), progress and a table to standard
error. Exits 1 when a check fails; targets are said to be reached or missed, and judged on a GPU alone.

`--device cpu` runs the same code without a GPU, which shows that the command works, not how fast a GPU is; `--quick`
makes everything small. `--compile` measures torch.compile too, which takes minutes.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.intake import Limits, prepare
from app.serving.runtimes.cuda import CudaRuntime
from app.serving.runtimes.device import CudaDevice, Device
from app.threads import usable_cores
from benchmarks.device.bundles import make_bundle
from benchmarks.device.checks import check
from benchmarks.device.forward import MODES, arithmetic, forwards, pipeline
from benchmarks.device.host import HostDevice
from benchmarks.device.service import Load, under_load
from benchmarks.device.table import show
from benchmarks.uploads import ROOT, Upload, load
from model.bundle import Bundle, load_bundle
from model.preprocess import Item

SECTIONS = ("checks", "forward", "pipeline", "service")
SHARE_OF_FORWARD = 0.9
SHARE_OF_CORES = 0.95
PRODUCTION_PER_SECOND = 5000
PADDING_WASTE = 0.05
_MOST_IN_FLIGHT = 3


_LOAD = Load(levels=(64, 256, 512, 1024), processes=4, uploads=48, seconds=6.0, warm=2.0)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    device: str
    sections: tuple[str, ...]
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # that the runtime captures and the service runs
    forward_sizes: tuple[int, ...] = (1, 8, 32, 64, 128, 256, 512)
    modes: tuple[str, ...] = ("fp32", "bf16", "bf16 graphs")
    seconds: float = 0.4  # of each forward's and pipeline's figure
    copies: int = 3  # of items for each pattern and length in the checks
    load: Load = _LOAD


QUICK: dict[str, Any] = {
    "sizes": (1, 2),
    "forward_sizes": (1, 2),
    "seconds": 0.02,
    "copies": 1,
    "load": Load(levels=(4,), processes=2, uploads=3, seconds=0.5, warm=0.2),
}


class Report:
    """What has been found, and what went wrong: one section's failure does not keep the next from running."""

    def __init__(self) -> None:
        self.checks: dict[str, bool] = {}
        self.errors: dict[str, str] = {}
        self._began = time.monotonic()

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """What `work` returns; None where it raised."""
        self.say(name)
        try:
            return work()
        except Exception:
            self.errors[name] = traceback.format_exc()
            self.say(f"{name} failed: {self.errors[name]}")
            return None
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def say(self, what: str) -> None:
        """Tell how far it is."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {what}", file=sys.stderr, flush=True)


def measure(
    name: str, path: Path, plan: Plan, uploads: list[Upload], report: Report, folder: Path, *, trained: bool
) -> dict[str, Any]:
    """Every section for one bundle."""
    bundle = load_bundle(path)
    make_device: Callable[[], Device] = CudaDevice if plan.device == "cuda" else HostDevice
    items = prepared(bundle, uploads)
    operations = arithmetic(bundle)
    figures: dict[str, Any] = {
        "bundle": f"{bundle.name} {bundle.version} ({bundle.digest})",
        "operations_an_item": operations["item"],
        "operations_a_token": operations["token"],
        "tokens": sorted(max((len(v) for v in item.values() if v.ndim == 1), default=0) for item in items)[
            len(items) // 2
        ],
    }
    if "checks" in plan.sections:
        found = report.run(
            f"{name}: checks",
            lambda: check(bundle, make_device, plan.sizes, items, trained=trained, copies=plan.copies),
        )
        if found is not None:
            figures["checks"], verdicts = found
            report.checks |= {f"{name}: {check}": passed for check, passed in verdicts.items()}
    if "forward" in plan.sections:
        figures["forward"] = report.run(
            f"{name}: forward",
            lambda: forwards(bundle, make_device, items, plan.forward_sizes, plan.modes, plan.seconds),
        )
    if "pipeline" in plan.sections:
        figures["pipeline"] = report.run(
            f"{name}: pipeline", lambda: pipelines(bundle, make_device, items, plan.sizes, plan.seconds)
        )
    if "service" in plan.sections:
        sizes = None if plan.device == "cuda" else plan.sizes
        work = partial(under_load, path, plan.device, sizes, plan.load, folder, operations)
        figures["service"] = report.run(f"{name}: service", work)
        if figures["service"] is not None:
            failed = sum(row["errors"] for row in figures["service"]["levels"])
            answered = sum(row["answered"] for row in figures["service"]["levels"])
            report.checks[f"{name}: the service answers and no request fails"] = answered > 0 and not failed
    return figures


def pipelines(
    bundle: Bundle, make_device: Callable[[], Device], items: list[Item], sizes: tuple[int, ...], seconds: float
) -> dict[str, Any]:
    """Items a second through the runtime by batches in flight, and what it took to build it."""
    began = time.monotonic()
    runtime = CudaRuntime(bundle, sizes, in_flight=_MOST_IN_FLIGHT, device=make_device())
    found: dict[str, Any] = {
        "seconds_to_build": round(time.monotonic() - began, 2),
        "precision": runtime.precision,
    }
    if torch.cuda.is_available():
        found["device_memory_mib"] = round(torch.cuda.memory_reserved() / 2**20)
    for in_flight in range(1, _MOST_IN_FLIGHT + 1):
        found[f"{in_flight} in flight"] = {
            str(size): round(pipeline(runtime, items, size, in_flight, seconds), 1) for size in sizes[-4:]
        }
    return found


def prepared(bundle: Bundle, uploads: list[Upload]) -> list[Item]:
    """The uploads as the intake prepares them."""
    texts = [name for name, modality in bundle.config.modalities.items() if modality.kind == "text"]
    images = [name for name, modality in bundle.config.modalities.items() if modality.kind == "image"]
    return [
        prepare(
            {**dict.fromkeys(images, upload.image), **dict.fromkeys(texts, upload.title)},
            bundle.config,
            bundle.tokenizers,
            Limits(),
        ).item
        for upload in uploads
    ]


def judge(figures: dict[str, Any], *, production: bool) -> dict[str, bool]:
    """The targets: name -> reached."""
    service = figures.get("service")
    if not service:
        return {}
    best = max(service["levels"], key=lambda row: row["answered_per_second"])
    rate, busy = best["answered_per_second"], best["busy_cores"] / service["cores"]
    targets = {f"padding waste at most {PADDING_WASTE:.0%}": (best["padding_waste"] or 0.0) <= PADDING_WASTE}
    forward = max((row.get("bf16 graphs") or 0.0 for row in figures.get("forward") or []), default=0.0)
    if forward:
        figures["service_share_of_forward"] = round(rate / forward, 3)
        figures["busy_share_of_cores"] = round(busy, 3)
        targets[f"{SHARE_OF_FORWARD:.0%} of the forward alone, or {SHARE_OF_CORES:.0%} of the cores busy"] = (
            rate >= SHARE_OF_FORWARD * forward or busy >= SHARE_OF_CORES
        )
    if production:
        targets[f"{PRODUCTION_PER_SECOND} requests a second at 224 pixels"] = rate >= PRODUCTION_PER_SECOND
    return targets


def main() -> int:
    """Measure, print, and judge."""
    arguments = parse()
    on_gpu = arguments.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("no CUDA device is visible to this torch; --device cpu runs the same code without one", file=sys.stderr)
        return 2
    plan = Plan(arguments.device, tuple(arguments.only or SECTIONS))
    if arguments.quick:
        plan = replace(plan, **QUICK)
    if arguments.compile:
        plan = replace(plan, modes=tuple(MODES), forward_sizes=(128,))
    report = Report()
    report.say("uploads")
    with ProcessPoolExecutor(plan.load.processes) as pool:
        batches = pool.map(load, [plan.load.uploads] * plan.load.processes, range(plan.load.processes))
        uploads = [upload for batch in batches for upload in batch]
    document: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "device": torch.cuda.get_device_name(0) if on_gpu else platform.machine(),
        "torch": torch.__version__,
        "cores": usable_cores(),
        "models": {},
        "targets": {},
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models: dict[str, Path | None] = {} if arguments.bundle is None else {"shipped": arguments.bundle}
        if arguments.production is not None:
            titles = [upload.title for upload in uploads]
            work = partial(make_bundle, folder / "production", arguments.production, titles)
            models["production"] = report.run("production: bundle", work)
        for name, path in models.items():
            if path is None:
                continue
            figures = report.run(
                name, partial(measure, name, path, plan, uploads, report, folder, trained=name == "shipped")
            )
            if figures is not None:
                document["models"][name] = figures
                targets = judge(figures, production=name == "production")
                document["targets"] |= {f"{name}: {target}": reached for target, reached in targets.items()}
    document["checks"], document["errors"] = report.checks, report.errors
    document["passed"] = all(report.checks.values()) and not report.errors
    text = json.dumps(document, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(show(document, judged=on_gpu), file=sys.stderr)
    return 0 if document["passed"] else 1


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--bundle", type=path_or_none, default=ROOT / "weights" / "fashion", help="a folder, or none")
    parser.add_argument(
        "--production", type=path_or_none, default=ROOT / "configs" / "production.yaml", help="a config, or none"
    )
    parser.add_argument("--only", choices=SECTIONS, nargs="+", help="sections to run; all when left out")
    parser.add_argument("--quick", action="store_true", help="make everything small")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too, at one batch size")
    parser.add_argument("--out", type=Path, help="write the document to this file as well")
    return parser.parse_args()


def path_or_none(value: str) -> Path | None:
    """A path, None for `none`."""
    return None if value == "none" else Path(value)


if __name__ == "__main__":
    raise SystemExit(main())
