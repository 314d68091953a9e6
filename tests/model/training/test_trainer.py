"""Training end to end on the made data: it learns, stops, resumes, and survives what data lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.config import Config, parse_config
from model.data.dataset import Dataset, load_dataset
from model.training.checkpoint import Checkpoints, ResumeError
from model.training.objective import drop_modalities
from model.training.trainer import DivergedError, Trained, Trainer
from tests.model.training.shapes import document, make_shapes

CPU = torch.device("cpu")


class Listener:
    """Keeps what a run says; can break it off after an epoch, as a crash would."""

    def __init__(self, crash_after: int | None = None) -> None:
        self.records: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.steps: list[float] = []
        self.crash_after = crash_after

    def step(self, epoch: int, done: int, total: int, loss: float, progress: float, seconds: float) -> None:
        self.steps.append(progress)

    def epoch(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        if record["epoch"] == self.crash_after:
            raise InterruptedError

    def note(self, message: str) -> None:
        self.notes.append(message)


def changed(dataset: Dataset, **training: Any) -> Dataset:
    """The same data under a config with other training values."""
    values = dataset.config.model_dump()
    values["training"] |= training
    return Dataset(Config.model_validate(values), dataset.splits, dataset.faults, dataset.fingerprint)


def train(dataset: Dataset, folder: Path, listener: Listener | None = None, minutes: float | None = None) -> Trained:
    checkpoints = Checkpoints(folder, dataset.config, dataset.fingerprint)
    return Trainer(dataset, CPU, listener or Listener(), checkpoints, minutes).run()


def outcome(trained: Trained) -> tuple[list[Any], dict[str, torch.Tensor]]:
    history = [{k: v for k, v in record.items() if k != "seconds"} for record in trained.history]
    return history, trained.network.state_dict()


def assert_same_outcome(one: Trained, two: Trained) -> None:
    (history, weights), (other_history, other_weights) = outcome(one), outcome(two)
    assert history == other_history
    for name, value in weights.items():
        assert torch.equal(value, other_weights[name]), name


def test_it_learns(dataset: Dataset, tmp_path: Path) -> None:
    listener = Listener()
    trained = train(dataset, tmp_path, listener)
    best = max(trained.history, key=lambda record: record["score"])["metrics"]
    for pattern in ("image+text", "image", "text"):
        assert best[pattern]["shape"]["accuracy"] > 0.85, pattern
        assert best[pattern]["round"]["accuracy"] > 0.85, pattern
        assert best[pattern]["colour"]["accuracy"] > 0.8, pattern
    assert best["image"]["size"]["r2"] > max(0.1, best["text"]["size"]["r2"]), "only the picture tells the size"
    assert [record["epoch"] for record in listener.records] == list(range(1, 9))
    assert listener.steps == sorted(listener.steps)
    assert trained.history[-1]["progress"] == 1
    names = list(dataset.config.tasks)
    assert trained.relation[names.index("round")][names.index("shape")] == 1
    assert json.loads((tmp_path / "history.json").read_text()) == trained.history


def test_a_run_repeats_and_a_broken_one_goes_on_to_the_same_end(dataset: Dataset, tmp_path: Path) -> None:
    data = changed(dataset, epochs=2, small_image_epochs=0.4)
    whole = train(data, tmp_path / "whole")
    with pytest.raises(InterruptedError):
        train(data, tmp_path / "broken", Listener(crash_after=1))
    listener = Listener()
    resumed = train(data, tmp_path / "broken", listener)
    assert any(note.startswith("resumed after epoch 1") for note in listener.notes)
    assert [record["epoch"] for record in listener.records] == [2]
    assert_same_outcome(whole, resumed)
    again = Listener()
    assert_same_outcome(whole, train(data, tmp_path / "whole", again))
    assert not again.records, "a finished run is not trained again"


def test_another_seed_is_another_run(dataset: Dataset, tmp_path: Path) -> None:
    one, two = (train(changed(dataset, epochs=1, seed=seed), tmp_path / str(seed)) for seed in (0, 1))
    assert one.history[0]["loss"] != two.history[0]["loss"]


def test_the_time_budget_stops_it(dataset: Dataset, tmp_path: Path) -> None:
    data = changed(dataset, epochs=10_000, patience=10_000)
    trained = train(data, tmp_path, minutes=1.0 / 60)
    assert trained.history[-1]["progress"] == 1
    assert 1 <= trained.history[-1]["epoch"] == trained.provenance["epochs"] < 200
    again = Listener()
    finished = train(data, tmp_path, again, minutes=1.0 / 60)
    assert not again.records
    assert finished.provenance["epochs"] == trained.provenance["epochs"]
    assert finished.provenance["precision"] == "fp32"


def test_it_stops_when_validation_gets_no_better_and_keeps_the_best(dataset: Dataset, tmp_path: Path) -> None:
    listener = Listener()
    trained = train(changed(dataset, epochs=50, patience=1, learning_rate=1e-9, ema_decay=0.0), tmp_path, listener)
    scores = [record["score"] for record in trained.history]
    best = int(np.argmax(scores))
    assert len(scores) == best + 1 + 1 < 50
    again = Listener()
    train(changed(dataset, epochs=50, patience=1, learning_rate=1e-9, ema_decay=0.0), tmp_path, again)
    assert not again.records


def test_a_checkpoint_of_another_config_or_other_data_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    train(changed(dataset, epochs=1), tmp_path)
    with pytest.raises(ResumeError, match=r"another config.*--restart"):
        train(changed(dataset, epochs=1, learning_rate=0.02), tmp_path)
    turned = changed(dataset, epochs=1).config
    turned = turned.model_copy(update={"tasks": dict(reversed(turned.tasks.items()))})
    with pytest.raises(ResumeError, match="another config"):
        Checkpoints(tmp_path, turned, dataset.fingerprint).load(CPU)
    other = Dataset(changed(dataset, epochs=1).config, dataset.splits, dataset.faults, "other")
    with pytest.raises(ResumeError, match=r"another data.*--restart"):
        train(other, tmp_path)
    Checkpoints(tmp_path, dataset.config, dataset.fingerprint).clear()
    train(other, tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_refused(dataset: Dataset, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(ResumeError, match=r"checkpoint\.pt.*--restart"):
        train(dataset, tmp_path)


def test_a_checkpoint_with_another_vocabulary_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    data = changed(dataset, epochs=1)
    train(data, tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["tokenizers"]["text"] = state["tokenizers"]["text"].replace("disc", "disk")
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(ResumeError, match="vocabulary"):
        train(data, tmp_path)


def test_a_run_that_diverges_says_so(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="learning_rate"):
        train(changed(dataset, epochs=2, learning_rate=1e30, gradient_clip=1e30), tmp_path)


def test_rows_without_picture_or_title_and_batches_without_a_label(tmp_path: Path, cache: Path) -> None:
    folder = make_shapes(tmp_path / "data", val=60, test=0, gaps=True, seed=1)
    data = load_dataset(parse_config(document()), folder, cache=cache)
    present = data.splits["train"].present
    assert 0.2 < (~present[:, 0]).mean() < 0.5
    assert 0.2 < (~present[:, 1]).mean() < 0.5
    labels = data.splits["train"].labels
    # One task is labelled in a few rows only, so that most batches have none of it; another in no row at all.
    labels["colour"][8:] = -1
    labels["tags"][:] = np.nan
    labels["size"][::2] = np.nan
    trained = train(data, tmp_path / "run")
    assert all(np.isfinite(record["loss"]) for record in trained.history)
    best = max(trained.history, key=lambda record: record["score"])["metrics"]
    for pattern in ("image", "text"):
        assert best[pattern]["shape"]["accuracy"] > 0.75, pattern
    assert best["image+text"]["shape"]["count"] < best["text"]["shape"]["count"] < 60


@pytest.mark.parametrize(
    ("fusion", "kind"),
    [("alpha", "gradient_affinity"), ("concat", "none"), ("gated", "none"), ("cross_attention", "none")],
)
def test_every_fusion_and_relation_trains(dataset: Dataset, tmp_path: Path, fusion: str, kind: str) -> None:
    values = changed(dataset, epochs=1).config.model_dump()
    values["network"]["fusion"] = fusion
    values["relation"]["kind"] = kind
    trained = train(
        Dataset(Config.model_validate(values), dataset.splits, dataset.faults, dataset.fingerprint), tmp_path
    )
    assert np.isfinite(trained.history[0]["loss"])
    assert (trained.provenance["affinity"] is None) is (kind == "none")


def test_hidden_modalities_are_never_all_and_never_none() -> None:
    torch.manual_seed(0)
    present = torch.rand(2000, 3) < 0.7
    present = present[present.any(1)]
    kept = drop_modalities(present)
    assert not bool((kept & ~present).any())
    assert bool(kept.any(1).all())
    several = present.sum(1) > 1
    assert bool((kept.sum(1) < present.sum(1))[several].all())
    assert torch.equal(kept[~several], present[~several])
    share = kept[present.all(1)].float().mean(0)
    assert bool(((share > 0.3) & (share < 0.7)).all()), "each as often as the others"


@pytest.mark.parametrize("gap", [0.0, 6e-8])
def test_a_sample_keeps_a_modality_when_the_draws_are_equal(monkeypatch: pytest.MonkeyPatch, gap: float) -> None:
    rolls = torch.tensor([[0.5 + gap, 0.5]])
    monkeypatch.setattr(torch, "rand", lambda *args, **options: rolls.clone())
    monkeypatch.setattr(torch, "rand_like", lambda other: torch.full_like(other, 0.9999999))
    assert bool(drop_modalities(torch.tensor([[True, True]])).any())
