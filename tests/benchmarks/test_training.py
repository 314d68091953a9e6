"""The training benchmark runs from end to end on data that it makes, and its arithmetic is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.plain_loop import PlainDataset
from benchmarks.training import files_of, main, results, whole_run
from benchmarks.training_data import make_data
from model.config import Config, load_config, parse_config
from model.data.dataset import load_dataset
from model.training.batches import BatchMaker
from model.training.trainer import train_tokenizers
from tests.model.training.shapes import document, write_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "shapes.yaml", document(small_image_epochs=0.5))


def test_the_command_measures_every_loop(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        short = ["--rounds", "2", "--steps", "1", "--warm-up", "1", "--trial-steps", "1", "--workers", "0"]
        main(["--config", str(config), "--rows", "60", *short])
    finally:
        torch.set_num_threads(threads)
    found = json.loads(capsys.readouterr().out)
    assert set(found["samples_per_second"]) == {"plain", "guided", "full", "small", "whole run"}
    assert all(0 < each["least"] <= each["median"] <= each["most"] for each in found["samples_per_second"].values())
    assert set(found["ratio"]) == {f"{a} / {b}" for a in ("full", "small", "whole run") for b in ("plain", "guided")}
    assert found["rows"] == 60
    assert found["tuned"]["plain"]["loader_processes"] == 0


def test_ratios_are_taken_within_a_round() -> None:
    rounds = [
        {name: {"samples_per_second": rate * speed, "cpu_ms": 1.0} for name, rate in rates.items()}
        for speed in (1.0, 0.1)  # a round in which the machine was busy
        for rates in ({"plain": 10.0, "guided": 20.0, "full": 30.0, "small": 60.0},)
    ]
    ratio = results(rounds, 0.5)["ratio"]
    assert ratio["full / plain"] == {"median": 3.0, "least": pytest.approx(3.0), "most": pytest.approx(3.0)}
    assert ratio["whole run / guided"]["median"] == pytest.approx(2.0)


def test_a_whole_run_is_weighed_by_samples() -> None:
    # Of 100 samples 50 take a second each and 50 half a second.
    assert whole_run(1.0, 2.0, 0.5) == pytest.approx(100 / 75)


def test_the_plain_loop_reads_what_the_cache_holds(tmp_path: Path) -> None:
    config = parse_config(document())
    values = config.model_dump()
    values["modalities"]["text"] |= {"word_dropout": 0.0, "label_word_dropout": 0.0}
    config = Config.model_validate(values)
    make_data(tmp_path, config, 40)
    data = load_dataset(config, tmp_path, cache=tmp_path / "cache")
    split, tokenizers = data.splits["train"], train_tokenizers(config, data)
    plain = PlainDataset(data.config, split, files_of(config, tmp_path, split.ids), tokenizers)
    own = BatchMaker(data.config, split, tokenizers).make(torch.arange(len(split)).numpy())
    batch = plain.collate([plain[row] for row in range(len(split))])
    assert torch.equal(batch.inputs["text"], own.inputs["text"])
    assert all(torch.equal(batch.targets[name].nan_to_num(), own.targets[name].nan_to_num()) for name in own.targets)
    assert batch.inputs["image"].shape == own.inputs["image"].shape
    # Moved and mirrored, the pictures keep their colours.
    moved = (batch.inputs["image"].float().mean((1, 2)) - own.inputs["image"].float().mean((1, 2))).abs()
    assert float(moved.mean()) < 25


def test_the_shipped_config_can_be_fed_with_made_data(tmp_path: Path) -> None:
    config = load_config(ROOT / "configs" / "fashion.yaml")
    make_data(tmp_path, config, 60)
    data = load_dataset(config, tmp_path, cache=tmp_path / "cache", splits=("train", "val"))
    # Drawn labels heed no hierarchy.
    assert set(data.faults.counts) <= {"class seen once", "class without a place", "against the hierarchy"}
    assert len(data.splits["train"]) + len(data.splits["val"]) == 60
    assert bool(data.splits["train"].present.all())
