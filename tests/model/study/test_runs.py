"""Runs on the made data: what they measure, and that a study which was killed anywhere goes on to the same results."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import cli
from model.config import Config
from model.data.dataset import Dataset
from model.reporting.measure import evaluate
from model.study.baselines import majority, tfidf
from model.study.execute import execute
from model.study.plan import Plan, Run, Share, make_plan
from model.study.subset import subset
from model.study.variants import by_name
from model.study.workers import Quiet
from model.training.bundling import make_bundle
from model.training.checkpoint import Checkpoints
from model.training.trainer import Trainer
from tests.model.training.shapes import document, write_config
from tests.model.training.test_trainer import CPU, Listener

SHARE = Share(0.5, 1, 2)
ANY_TIME = {"seconds": 0, "core_seconds": 0}


def plan_of(dataset: Dataset, *names: str, share: Share = SHARE) -> Plan:
    return make_plan(dataset.config, [by_name(name) for name in names], [share], dataset.fingerprint)


def only(plan: Plan) -> Run:
    (run,) = plan.all()
    return run


def made(run: Run, dataset: Dataset, out: Path, reporter: Any = None) -> dict[str, Any]:
    execute(run, dataset, out, CPU, reporter or Quiet())
    result = run.result(out)
    assert result is not None
    return result


def test_a_share_is_part_of_a_larger_one_and_the_same_for_every_variant(dataset: Dataset) -> None:
    config = dataset.config
    small, large, again = (subset(dataset, config, share, seed=1) for share in (0.1, 0.5, 0.1))
    ids = [data.splits["train"].ids for data in (small, large, again)]
    assert [len(rows) for rows in ids] == [32, 160, 32]
    assert set(ids[0]) < set(ids[1])
    assert ids[0] == ids[2]
    assert ids[0] != subset(dataset, config, 0.1, seed=2).splits["train"].ids
    assert len(small.splits["test"]) == len(dataset.splits["test"])
    full = subset(dataset, config, 1.0, seed=1).splits["train"]
    assert full.ids == dataset.splits["train"].ids
    assert full.images["image"] is dataset.splits["train"].images["image"], "the memory map, not a copy"


def test_rows_keep_their_pictures_texts_and_labels(dataset: Dataset) -> None:
    text = plan_of(dataset, "text_only").runs(by_name("text_only"), SHARE, 0)[0].config
    whole, part = dataset.splits["train"], subset(dataset, dataset.config, 0.1, 0).splits["train"]
    alone = subset(dataset, text, 0.1, 0).splits["train"]
    assert alone.images == {}
    assert alone.present.shape == (32, 1)
    for position, name in enumerate(part.ids):
        row = whole.ids.index(name)
        assert np.array_equal(part.images["image"][position], whole.images["image"][row])
        assert part.texts["text"][position] == alone.texts["text"][position] == whole.texts["text"][row]
        assert part.labels["year"][position] == alone.labels["year"][position] == whole.labels["year"][row]


def test_the_most_frequent_answer_is_right_as_often_as_it_occurs(dataset: Dataset) -> None:
    results, parameters = majority(dataset, None)
    assert parameters == 0
    assert list(results) == ["image + text", "image", "text", "image + masked text", "masked text"]
    train, test = (dataset.splits[name].labels["colour"] for name in ("train", "test"))
    expected = (test == np.bincount(train).argmax()).mean()
    assert results["image"]["colour"]["accuracy"] == pytest.approx(expected)
    assert results["image"]["size"]["r2"] == pytest.approx(0, abs=0.1)


def test_the_linear_model_reads_words_and_misses_them_when_masked(dataset: Dataset) -> None:
    results, parameters = tfidf(dataset, None)
    assert parameters > 0
    assert list(results) == ["text", "masked text"]
    for task in ("colour", "shape", "round"):
        assert results["text"][task]["accuracy"] > 0.95
        assert results["masked text"][task]["accuracy"] < 0.75
    assert results["text"]["tags"]["macro_f1"] > results["masked text"]["tags"]["macro_f1"]


def test_a_run_measures_what_training_and_evaluating_its_config_would(dataset: Dataset, tmp_path: Path) -> None:
    run = only(plan_of(dataset, "base"))
    result = made(run, dataset, tmp_path)
    data = subset(dataset, run.config, SHARE.fraction, 0)
    trained = Trainer(data, CPU, Listener(), Checkpoints(tmp_path / "own", run.config, "x"), None).run()
    report = evaluate(make_bundle(tmp_path / "bundle", data, trained), data.splits["test"], CPU)
    assert report["parameters"] == result["parameters"]
    for setup, tasks in report["results"].items():
        for task, metrics in tasks.items():
            for key in ("ece", "ece_chance"):  # for reports alone
                metrics.pop(key, None)
            assert result["results"][setup][task] == pytest.approx(metrics, abs=1e-6), (setup, task)
    assert result["results_without_beta"] != result["results"]
    assert result["rows"] == {"train": 160, "val": 80, "test": 60}
    assert not (tmp_path / "unfinished" / run.key).exists()


def test_a_training_that_was_killed_goes_on_to_the_same_result(dataset: Dataset, tmp_path: Path) -> None:
    run = only(plan_of(dataset, "base"))
    whole = made(run, dataset, tmp_path / "whole")
    with pytest.raises(InterruptedError):
        execute(run, dataset, tmp_path / "broken", CPU, Listener(crash_after=1))
    assert run.result(tmp_path / "broken") is None
    listener = Listener()
    resumed = made(run, dataset, tmp_path / "broken", listener)
    assert [record["epoch"] for record in listener.records] == [2]
    assert (whole["core_seconds"] is None, resumed["core_seconds"] is None) == (False, True)
    assert whole | ANY_TIME == resumed | ANY_TIME


def test_a_training_that_diverges_is_a_result(dataset: Dataset, tmp_path: Path) -> None:
    values = dataset.config.model_dump()
    values["training"] |= {"learning_rate": 1e30, "gradient_clip": 1e30}
    wild = Dataset(Config.model_validate(values), dataset.splits, dataset.faults, dataset.fingerprint)
    assert "learning_rate" in made(only(plan_of(wild, "base")), wild, tmp_path)["failed"]


@pytest.mark.parametrize("name", ["image_only", "single_task", "gradient_affinity", "logit_adjustment"])
def test_variants_train(dataset: Dataset, tmp_path: Path, name: str) -> None:
    run = next(iter(plan_of(dataset, name, share=Share(0.2, 1, 1)).all()))
    for tasks in made(run, dataset, tmp_path)["results"].values():
        assert list(tasks) == list(run.config.tasks)
        assert all(np.isfinite(list(metrics.values())).all() for metrics in tasks.values())


def arguments(shapes: Path, cache: Path, folder: Path) -> list[str]:
    config = write_config(folder / "config.yaml", document())
    names = ["study", str(config), "--data", str(shapes), "--out", str(folder / "out"), "--cache", str(cache)]
    return [*names, "--device", "cpu", "--threads", "1"]


def study(shapes: Path, cache: Path, folder: Path, *more: str) -> str:
    done = CliRunner().invoke(cli, [*arguments(shapes, cache, folder), *more])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_makes_what_is_missing_and_nothing_twice(shapes: Path, cache: Path, tmp_path: Path) -> None:
    shares = ("--fractions", "0.2,0.5", "--seeds", "2,1", "--epochs", "1")
    options = ("--variants", "majority,base,no_beta,text_only", *shares)
    study(shapes, cache, tmp_path, *options)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").iterdir()}
    assert len(files) == 3 * (2 + 1)
    page = (tmp_path / "out" / "study.md").read_text(encoding="utf-8")
    assert "Multi-model fusion by β" in page
    assert "PATH" in page
    assert str(tmp_path / "out") not in page
    gone = next(path for path in files if json.loads(path.read_text())["variant"] == "text_only")
    gone.unlink()
    study(shapes, cache, tmp_path, *options, "--page-only")
    assert "**Unfinished**: 1 cells" in (tmp_path / "out" / "study.md").read_text(encoding="utf-8")
    study(shapes, cache, tmp_path, *options)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").iterdir()}
    assert after.keys() == files.keys()
    assert [path for path in files if after[path] != files[path]] == [gone]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--variants", "base,nonsense", "no variant 'nonsense'"),
        ("--fractions", "0.1,2", "above 0 and at most 1"),
        ("--seeds", "1,2", "one for each"),
        ("--epochs", "many", "numbers separated by commas"),
    ],
)
def test_wrong_options_are_refused_with_what_is_allowed(
    shapes: Path, tmp_path: Path, option: str, value: str, said: str
) -> None:
    config = write_config(tmp_path / "config.yaml", document())
    arguments = ["study", str(config), "--data", str(shapes), "--out", str(tmp_path / "out"), option, value]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.slow
def test_processes_side_by_side_give_the_same_results(shapes: Path, cache: Path, tmp_path: Path) -> None:
    options = ("--variants", "base,concat", "--fractions", "0.5", "--seeds", "1", "--epochs", "1")
    found = []
    for jobs in ("1", "2"):
        folder = tmp_path / jobs
        folder.mkdir()
        study(shapes, cache, folder, *options, "--jobs", jobs)
        runs = [json.loads(path.read_text()) for path in sorted((folder / "out" / "runs").iterdir())]
        found.append([run | ANY_TIME for run in runs])
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("seconds", [8, 11, 14])
def test_a_study_killed_at_any_time_goes_on(
    shapes: Path, cache: Path, tmp_path: Path, jobs: int, seconds: float, full_length: bool
) -> None:
    if not full_length and (jobs, seconds) not in ((1, 8), (2, 11)):
        pytest.skip("two moments are enough for a change to pass: the rest run at full length")
    options = ["--variants", "base,concat,gated", "--fractions", "1", "--seeds", "1", "--epochs", "12"]
    found = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        if name == "killed":
            command = [
                sys.executable,
                "-m",
                "app.cli",
                *arguments(shapes, cache, folder),
                "--jobs",
                str(jobs),
                *options,
            ]
            # What the time-out sends is SIGKILL.
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(command, timeout=seconds, check=False, capture_output=True)
        study(shapes, cache, folder, *options)
        runs = [json.loads(path.read_text()) for path in sorted((folder / "out" / "runs").iterdir())]
        found.append([run | ANY_TIME for run in runs])
    assert found[0] == found[1]
