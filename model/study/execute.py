"""One run of a study: a share of the data in, measured results out."""

from __future__ import annotations

import platform
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from model.calibration import uncalibrated
from model.data.dataset import Dataset
from model.inference import run_patterns
from model.setups import measure_setups, run_setups
from model.study import baselines
from model.study.plan import Run
from model.study.subset import subset
from model.training.batches import BatchMaker
from model.training.calibrate import fit_calibration
from model.training.checkpoint import Checkpoints
from model.training.trainer import DivergedError, Reporter, Trainer


def execute(
    run: Run,
    dataset: Dataset,
    out: Path,
    device: torch.device,
    reporter: Reporter,
    masked_words: frozenset[str] | None = None,
) -> None:
    """Make a run's result and save it. A training that was broken off goes on from its last finished epoch.

    A training that diverges is a result too: {"failed": why}. `masked_words` as in `reporting.measure.evaluate`.
    """
    data = subset(dataset, run.config, run.fraction, run.seed)
    started, used = time.perf_counter(), time.process_time()
    if run.method == "network":
        folder = out / "unfinished" / run.key
        try:
            result = _network(data, folder, device, reporter, masked_words)
        except DivergedError as error:
            result = {"failed": str(error)}
    else:
        folder = None
        results, parameters = (baselines.majority if run.method == "majority" else baselines.tfidf)(data, masked_words)
        result = {
            "results": results,
            "parameters": parameters,
            "seconds": time.perf_counter() - started,
            "core_seconds": time.process_time() - used,
            "epochs": 0,
        }
    result |= {
        "rows": {name: len(split) for name, split in data.splits.items()},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {device.type}",
        "torch": torch.__version__.split("+")[0],
    }
    run.save(out, result)
    if folder is not None:
        # Not earlier: a kill between the two leaves what is no longer needed, rather than nothing.
        shutil.rmtree(folder, ignore_errors=True)


def _network(
    data: Dataset, folder: Path, device: torch.device, reporter: Reporter, masked_words: frozenset[str] | None
) -> dict[str, Any]:
    config = data.config
    whole, used = not folder.exists(), time.process_time()
    trained = Trainer(data, device, reporter, Checkpoints(folder, config, data.fingerprint), minutes=None).run()
    core_seconds = time.process_time() - used
    val, test = data.splits["val"], data.splits["test"]
    calibration = fit_calibration(
        config, run_patterns(trained.network, BatchMaker(config, val, trained.tokenizers)), val.labels
    )
    setups = run_setups(trained.network, BatchMaker(config, test, trained.tokenizers, masked_words))
    return {
        "results": measure_setups(config, calibration, setups, test.labels),
        "results_without_beta": measure_setups(config, uncalibrated(config), setups, test.labels),
        "parameters": sum(parameter.numel() for parameter in trained.network.parameters()),
        "seconds": trained.history[-1]["seconds"],
        # What a killed process used is not known.
        "core_seconds": core_seconds if whole else None,
        "epochs": len(trained.history),
        "precision": trained.provenance["precision"],
        "relation": trained.relation,
    }
