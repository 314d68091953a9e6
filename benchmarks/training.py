"""Training, samples a second: `trunkline train` beside a plain PyTorch loop over the same files.

    python -m benchmarks.training --data data/fashion

`--data` is a folder with the config's table and its pictures as files (unzipped, since a plain loop opens them one by
one). Without it, a table and pictures are made from a seed. In turns, in one process and over several rounds, run:

- plain: benchmarks/plain_loop.py, its threads and loader processes chosen by trial
- guided: the same with what PyTorch's performance guide advises, channels-last and bf16 by autocast, likewise tuned
- trunkline, full: the step of `trunkline train` with its own batches, pictures at full size
- trunkline, small: the same at three quarters of the size, as the first `small_image_epochs` of a run are

All train the config's network on its objective with its batch size. Counted is a steady state: some steps of each turn
pass before the clock starts; validation, checkpoints and reading the table are left out on both sides. Decoding the
pictures into the cache happens once before the first epoch; it is timed apart. `ratio` compares samples a second in
the same round, `whole run` weighs full and small as the config does. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.plain_loop import PlainDataset, PlainLoop, fastest
from benchmarks.training_data import make_data
from model.config import Config, ImageModality, load_config
from model.data.dataset import Dataset, load_dataset
from model.data.faults import Faults
from model.data.source import Source
from model.data.table import fill, read_table
from model.network import Network
from model.network.encoders import resolve_encoders
from model.training.batches import TrainingBatch, shrink_pictures
from model.training.checkpoint import Checkpoints
from model.training.learner import Learner
from model.training.trainer import Trainer, schedule

ROOT = Path(__file__).resolve().parent.parent


class Silent:
    """A reporter for runs that nobody watches."""

    def step(self, epoch: int, done: int, total: int, loss: float, progress: float, seconds: float) -> None:
        """See `trainer.Reporter`."""

    def epoch(self, record: dict[str, Any]) -> None:
        """See `trainer.Reporter`."""

    def note(self, message: str) -> None:
        """See `trainer.Reporter`."""


class OwnLoop:
    """The loop of `trunkline train`, a few steps at a time."""

    def __init__(self, trainer: Trainer, learner: Learner, precision: str, small: bool, threads: int) -> None:
        self.trainer = trainer
        self.learner = learner
        self.half = precision == "bf16"
        self.small = small
        self.threads = threads
        self.batches = self._endless()

    def _endless(self) -> Iterator[TrainingBatch]:
        epoch = 0
        while True:
            yield from self.trainer.train_batches.epoch(self.trainer.config.training.batch_size, seed=epoch)
            epoch += 1

    def run(self, steps: int) -> float:
        """Take some steps; returns the mean loss."""
        torch.set_num_threads(self.threads)
        config = self.trainer.config
        rate = config.training.learning_rate * schedule(0.5, config.training.warmup)
        losses = []
        for done in range(steps):
            batch = next(self.batches)
            if self.small:
                batch = shrink_pictures(batch, config)
            losses.append(self.learner.step(batch, self.half, (0, done), rate))
        return float(torch.stack(losses).mean())

    def close(self) -> None:
        """End the thread that makes batches."""
        self.batches.close()


def files_of(config: Config, data: Path, ids: Sequence[str]) -> dict[str, list[Path]]:
    """The picture files of some rows: modality -> a path a row."""
    with Source(data, config.data.table) as source:
        rows = {row.id: row for row in read_table(source, config, Faults()).rows}
    return {
        name: [data / fill(modality.path, rows[identity]) for identity in ids]
        for name, modality in config.modalities.items()
        if isinstance(modality, ImageModality)
    }


def measure(loop: PlainLoop | OwnLoop, steps: int, warm_up: int, batch_size: int) -> dict[str, float]:
    """Samples a second, and the process's processor milliseconds a sample (loader processes are not in it)."""
    loop.run(warm_up)
    cpu, wall = time.process_time(), time.perf_counter()
    loop.run(steps)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"samples_per_second": steps * batch_size / wall, "cpu_ms": cpu / (steps * batch_size) * 1e3}


def whole_run(full: float, small: float, share: float) -> float:
    """Samples a second over a run of which `share` of the samples are small."""
    return 1 / (share / small + (1 - share) / full)


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and spread."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def compare(config: Config, data: Path, options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Run everything; returns the document that is printed."""
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        start = time.perf_counter()
        dataset = load_dataset(config, data, cache=Path(folder) / "cache", splits=("train", "val"))
        cold = time.perf_counter() - start
        start = time.perf_counter()
        dataset = load_dataset(config, data, cache=Path(folder) / "cache", splits=("train", "val"))
        warm = time.perf_counter() - start
        pictures = sum(len(split) for split in dataset.splits.values())
        say(f"read {pictures} rows in {cold:.1f} s, from the cache in {warm:.1f} s")
        trainer = own_trainer(dataset, Path(folder))
        learner = stack.enter_context(Learner(trainer.network, trainer.config, trainer.criterion, trainer.device))
        precision = trainer.trial_precision(learner)
        plain_data = PlainDataset(
            dataset.config,
            dataset.splits["train"],
            files_of(config, data, dataset.splits["train"].ids),
            trainer.tokenizers,
        )
        loops: dict[str, PlainLoop | OwnLoop] = {}
        chosen: dict[str, dict[str, int]] = {}
        for name, guided in (("plain", False), ("guided", True)):

            def make(count: int, workers: int, guided: bool = guided) -> PlainLoop:
                return PlainLoop(fresh_network(trainer), plain_data, count, workers, guided, guided)

            count, workers = fastest(make, threads, options.workers, options.trial_steps)
            chosen[name] = {"threads": count, "loader_processes": workers}
            say(f"{name}: {count} threads, {workers} loader processes")
            loops[name] = make(count, workers)
        loops["full"] = OwnLoop(trainer, learner, precision, small=False, threads=threads)
        loops["small"] = OwnLoop(trainer, learner, precision, small=True, threads=threads)
        for loop in loops.values():
            stack.callback(loop.close)
        rounds: list[dict[str, dict[str, float]]] = []
        for number in range(options.rounds):
            # Each second round goes the other way, so that none is always measured after the same neighbour.
            names = list(loops) if number % 2 == 0 else list(reversed(loops))
            size = config.training.batch_size
            rounds.append({name: measure(loops[name], options.steps, options.warm_up, size) for name in names})
            say(f"round {number + 1}: " + ", ".join(f"{n} {rounds[-1][n]['samples_per_second']:.0f}/s" for n in loops))
    return {
        "machine": f"{platform.machine()}, {threads} cores, torch {torch.__version__}",
        "rows": pictures,
        "batch_size": config.training.batch_size,
        "precision": precision,
        "tuned": chosen,
        "cache": {"seconds": cold - warm, "pictures": pictures},
        **results(rounds, config.training.small_image_epochs),
    }


def results(rounds: Sequence[dict[str, dict[str, float]]], share: float) -> dict[str, Any]:
    """Samples a second of each loop, and the ratios of the rounds."""
    rates = [{name: values["samples_per_second"] for name, values in each.items()} for each in rounds]
    for each in rates:
        each["whole run"] = whole_run(each["full"], each["small"], share)
    own = ("full", "small", "whole run")
    return {
        "samples_per_second": {name: summary([each[name] for each in rates]) for name in rates[0]},
        "cpu_ms_per_sample": {name: summary([each[name]["cpu_ms"] for each in rounds]) for name in rounds[0]},
        "ratio": {
            f"{name} / {other}": summary([each[name] / each[other] for each in rates])
            for other in ("plain", "guided")
            for name in own
        },
    }


def own_trainer(dataset: Dataset, folder: Path) -> Trainer:
    """The trainer as the command makes it, on the CPU."""
    checkpoints = Checkpoints(folder / "run", dataset.config, dataset.fingerprint)
    return Trainer(dataset, torch.device("cpu"), Silent(), checkpoints, None)


def fresh_network(trainer: Trainer) -> Network:
    """A network like the trainer's, in PyTorch's default memory format."""
    torch.manual_seed(trainer.config.training.seed)
    sizes = {name: tokenizer.vocab_size for name, tokenizer in trainer.tokenizers.items()}
    return Network(trainer.config, sizes, torch.tensor(trainer.relation))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "fashion.yaml")
    parser.add_argument(
        "--data", type=Path, help="folder with the table and its pictures; made from a seed if left out"
    )
    parser.add_argument("--rows", type=int, default=4096, help="rows to make where there is no --data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="counted steps of each loop a round")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before the clock starts, each round")
    parser.add_argument(
        "--trial-steps", type=int, default=3, help="steps a trial of threads and loader processes takes"
    )
    parser.add_argument("--workers", type=int, default=2, help="most loader processes tried for the plain loops")
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    options = parser.parse_args(arguments)
    config = resolve_encoders(load_config(options.config))

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if options.data is None:
        with tempfile.TemporaryDirectory() as folder:
            make_data(Path(folder), config, options.rows)
            document = compare(config, Path(folder), options, say)
        document["data"] = f"made from a seed, {options.rows} rows"
    else:
        document = compare(config, options.data, options, say)
        document["data"] = "given"
    text = json.dumps(document, indent=2)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
