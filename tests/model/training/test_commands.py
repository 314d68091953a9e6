"""`trunkline train` and `trunkline evaluate`: files in, a bundle out, and a message where that cannot be."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from app.cli import cli
from benchmarks.explanations import measure, render
from model.bundle import Bundle, load_bundle
from model.export.errors import ExportError
from model.golden import check_golden
from model.predictor import Predictor
from model.training import bundling
from tests.model.training.shapes import document, make_shapes, write_config


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def train_arguments(config: Path, data: Path, out: Path, cache: Path) -> list[str]:
    options = {"--data": data, "--out": out, "--cache": cache, "--threads": 1, "--device": "cpu"}
    return ["train", str(config), *(str(part) for pair in options.items() for part in pair)]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("config") / "shapes.yaml", document())


@pytest.fixture(scope="module")
def trained(config: Path, shapes: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, trained without interruption."""
    out = tmp_path_factory.mktemp("weights") / "shapes"
    result = run(*train_arguments(config, shapes, out, cache))
    assert result.exit_code == 0, result.output
    return out


def history(out: Path) -> list[dict[str, Any]]:
    records = json.loads((out.with_name(out.name + ".training") / "history.json").read_text())
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def test_train_makes_a_bundle_that_a_server_would_take(trained: Path) -> None:
    bundle = load_bundle(trained)
    check_golden(bundle, Predictor(bundle))
    assert bundle.config.tasks["colour"].labels == ("blue", "green", "red")
    assert bundle.config.tasks["round"].labels == ("no", "yes")
    assert bundle.config.tasks["year"].labels == ("2013", "2014", "2015")
    assert bundle.provenance["epochs"] == 8
    assert bundle.provenance["data"] | {"fingerprint": ""} == {"fingerprint": "", "train": 320, "val": 80, "test": 60}
    assert bundle.calibration.threshold("colour", ("image",), 0.9) is not None, "80 samples are enough to calibrate"
    assert sum(bundle.calibration.priors["colour"]) == pytest.approx(1), "shares of the training rows"
    assert len(bundle.calibration.priors["size"]) == 1
    assert list((trained.with_name("shapes.training") / "tensorboard").iterdir())
    assert [epoch.epoch for epoch in bundle.history] == list(range(1, 9))
    assert bundle.history[-1].score == pytest.approx(history(trained)[-1]["score"], abs=1e-5)
    assert set(bundle.history[0].validation) == {"image+text", "image", "text"}


def test_what_an_explanation_marks_matters_more_than_as_much_at_random(
    trained: Path, shapes: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deletion tests, as the benchmark makes them: of photos with titles, of photos, of titles."""
    monkeypatch.setenv("TRUNKLINE_CACHE", str(cache))
    found = asyncio.run(measure(trained, shapes, rows=5, seed=0, threads=1))
    losses = {figure: float(np.mean(values)) for figure, values in found.lost.items()}
    places = {figure[:2] for figure in losses}
    assert len(places) == 6, "cells hidden in two ways and words, beside the other modality and alone"
    for asked, how in places:
        marked, drawn = losses[asked, how, "marked"], losses[asked, how, "random"]
        assert marked > 1.5 * max(drawn, 0.01), (asked, how, marked, drawn)
    assert render(found).count("\n") == 7


def test_train_measures_what_it_made_and_draws_it(config: Path, shapes: Path, cache: Path, tmp_path: Path) -> None:
    short = write_config(tmp_path / "short.yaml", document(epochs=1))
    result = run(*train_arguments(short, shapes, tmp_path / "out", cache))
    assert result.exit_code == 0, result.output
    bundle = load_bundle(tmp_path / "out")
    assert bundle.report is not None
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["split"], report["rows"]) == ("test", 60)
    assert report["command"] == bundle.provenance["command"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Loss on the training rows" in page
    for task in bundle.config.tasks:
        assert f"<h2>{task}</h2>" in page
    assert len(page) < 300_000
    for name, kinds in (
        ("image", {"noise", "blank", "gradient", "document", "street", "photo"}),
        ("text", {"prose", "languages", "code", "letters", "shuffled"}),
    ):
        measured = report["familiarity"][name]
        assert (measured["rows"], set(measured["below"]), set(measured["unlike"])) == (60, {"0.05", "0.01"}, kinds)
        assert all(0 <= told["auroc"] <= 1 and told["count"] == 60 for told in measured["unlike"].values())
    for shown in (page, (tmp_path / "out" / "README.md").read_text(), result.output):
        assert "image: noise" in shown
        assert "text: shuffled" in shown


def test_a_trained_network_finds_noise_strange_and_unseen_rows_ordinary(
    trained: Path, shapes: Path, cache: Path
) -> None:
    result = run("evaluate", trained, "--data", shapes, "--cache", cache, "--threads", 1, "--device", "cpu")
    assert result.exit_code == 0, result.output
    report = load_bundle(trained).report
    assert report is not None
    for name, kind in (("image", "noise"), ("image", "photo"), ("text", "prose"), ("text", "letters")):
        told = report["familiarity"][name]["unlike"][kind]
        assert told["auroc"] > 0.9, (name, kind)
        assert told["below"]["0.05"] > 0.6, (name, kind)
    assert all(part["below"]["0.05"] < 0.2 for part in report["familiarity"].values())


def test_train_without_test_rows_measures_on_validation_and_says_so(tmp_path: Path) -> None:
    data = make_shapes(tmp_path / "data", train=60, val=20, test=0)
    short = write_config(tmp_path / "short.yaml", document(epochs=1))
    result = run(*train_arguments(short, data, tmp_path / "out", tmp_path / "cache"))
    assert result.exit_code == 0, result.output
    report = load_bundle(tmp_path / "out").report
    assert report is not None
    assert (report["split"], report["rows"]) == ("val", 20)
    assert report["coverage"]["image"] == {}, "20 rows are too few to calibrate"
    for file in ("README.md", "report.html"):
        assert "Training saw this split" in (tmp_path / "out" / file).read_text()


def test_train_gives_the_bundle_a_graph(trained: Path, graphs: list[Path]) -> None:
    assert trained in graphs


def test_a_network_that_no_graph_can_express_is_a_bundle_all_the_same(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(bundle: Bundle) -> None:
        raise ExportError("no operator for this")

    monkeypatch.setattr(bundling, "write_graph", fail)
    bundle = load_bundle(trained)
    assert bundling.give_graph(bundle) == "no operator for this"
    assert load_bundle(trained).graph is None


def test_train_lists_every_fault_in_a_file(shapes: Path, cache: Path, tmp_path: Path) -> None:
    data = tmp_path / "shapes"
    shutil.copytree(shapes, data)
    pictures = sorted((data / "images").iterdir())[:30]
    for picture in pictures:
        picture.unlink()
    config = write_config(tmp_path / "short.yaml", {**document(), "training": {"epochs": 1}})
    result = run(*train_arguments(config, data, tmp_path / "out", cache))
    assert result.exit_code == 0, result.output
    listed = json.loads((tmp_path / "out.training" / "faults.json").read_text())
    assert listed["missing image"]["count"] == 30
    assert {example["id"] for example in listed["missing image"]["examples"]} == {p.stem for p in pictures}


def test_a_killed_run_loses_at_most_an_epoch_and_ends_the_same(
    config: Path, shapes: Path, cache: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "shapes"
    arguments = train_arguments(config, shapes, out, cache)
    command = [sys.executable, "-c", "from app.cli import main; main()", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "epoch 1:" in line:
                break
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL, "".join(said)
    assert not (out / "bundle.yaml").exists()
    kept = len(history(out))
    assert 1 <= kept < 8
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert f"resumed after epoch {kept}" in result.output
    assert [record["epoch"] for record in history(out)] == list(range(1, 9))
    assert history(out) == history(trained)
    weights, expected = (load_file(folder / "model.safetensors") for folder in (out, trained))
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name
    assert load_bundle(out).digest == load_bundle(trained).digest


def test_evaluate_writes_report_and_card(trained: Path, shapes: Path, cache: Path) -> None:
    result = run("evaluate", trained, "--data", shapes, "--cache", cache, "--threads", 1, "--device", "cpu")
    assert result.exit_code == 0, result.output
    report = json.loads((trained / "report.json").read_text())
    assert report["rows"] == 60
    assert set(report["results"]) == {"image + text", "image", "text", "image + masked text", "masked text"}
    for setup in ("image + text", "image", "text"):
        assert report["results"][setup]["shape"]["accuracy"] > 0.8, setup
        assert report["results"][setup]["shape"]["count"] == 60
        assert report["results"][setup]["size"]["mae"] > 0
    blind = report["results"]["masked text"]["shape"]["accuracy"]
    assert blind < 0.75, "without the words that name it, the shape is a guess"
    card = (trained / "README.md").read_text()
    assert f"{report['results']['image']['shape']['accuracy']:.3f}" in card
    assert "| colour | multiclass | 3 |" in card
    ece = report["results"]["image"]["colour"]["ece"]
    covered = report["coverage"]["image"]["colour"]["0.9"]
    assert 0 <= ece <= 1
    assert set(report["coverage"]["image"]) == {"shape", "colour", "size", "year"}
    for said in (card, " ".join(result.output.split())):
        assert "xpected calibration error" in said
        assert "0.9 is asked for" in said
        assert f"{ece:.3f}" in said
        assert f"{covered['covered']:.3f}" in said
    assert sum(count for count, _, _ in report["reliability"]["image"]["tags"]) == 60 * 4
    mistakes = sum(pair["count"] for pair in report["confusions"]["image"]["shape"])
    assert mistakes == round(60 * (1 - report["results"]["image"]["shape"]["accuracy"]))
    page = (trained / "report.html").read_text()
    assert f"{ece:.3f}" in page
    assert "Loss on the training rows" in page
    assert "reliability" not in load_bundle(trained).describe()["report"], "what curves are drawn from is for the page"
    assert load_bundle(trained).report == report


def test_evaluate_takes_words_to_mask_from_a_file(trained: Path, shapes: Path, cache: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("Disc\nBAR\n")
    options = ["--data", shapes, "--cache", cache, "--threads", 1, "--device", "cpu", "--mask-words", words]
    assert run("evaluate", trained, *options).exit_code == 0
    results = json.loads((trained / "report.json").read_text())["results"]
    assert results["masked text"]["colour"]["accuracy"] > 0.8 > results["masked text"]["shape"]["accuracy"]
    words.write_bytes(b"\xff\xfe\x00")
    refused = run("evaluate", trained, *options)
    assert refused.exit_code == 2
    assert "words.txt" in refused.output


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), "no traceback"
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.output.replace("\n", " ")


def test_train_refuses_with_a_message(config: Path, shapes: Path, cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wrong = write_config(tmp_path / "wrong.yaml", document() | {"network": {"fusion": "sum"}})
    column = document()
    column["tasks"]["price"] = {"kind": "regression"}
    absent = write_config(tmp_path / "absent.yaml", column)
    file = tmp_path / "file"
    file.write_text("")
    refused(run(*train_arguments(tmp_path / "none.yaml", shapes, out, cache)), "none.yaml")
    refused(run(*train_arguments(wrong, shapes, out, cache)), "network.fusion", "'cross_attention'")
    refused(run(*train_arguments(absent, shapes, out, cache)), "price", "colour")
    refused(run(*train_arguments(config, tmp_path / "nowhere", out, cache)), "nowhere")
    refused(run(*train_arguments(config, shapes, file, cache)), "--out", "folder")
    refused(run(*train_arguments(config, shapes, file / "below", cache)), "file")
    refused(run(*train_arguments(config, shapes, out, cache), "--device", "toaster"), "toaster")
    refused(run(*train_arguments(config, shapes, out, cache), "--minutes", "-1"), "minutes")
    assert not out.exists()


def test_train_refuses_to_go_on_with_another_config(shapes: Path, cache: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "one.yaml", document(epochs=1))
    arguments = train_arguments(config, shapes, tmp_path / "out", cache)
    assert run(*arguments).exit_code == 0
    write_config(config, document(epochs=1, seed=5))
    refused(run(*arguments), "another config", "--restart")
    assert run(*arguments, "--restart").exit_code == 0


def test_evaluate_refuses_with_a_message(trained: Path, shapes: Path, cache: Path, tmp_path: Path) -> None:
    options = ["--cache", cache, "--threads", 1]
    refused(run("evaluate", tmp_path / "none", "--data", shapes, *options), "none", "no such folder")
    refused(run("evaluate", trained, "--data", tmp_path / "nowhere", *options), "nowhere")
    refused(run("evaluate", trained, "--data", shapes, "--split", "all", *options), "--split", "train, val or test")
    refused(run("evaluate", trained, "--data", shapes, "--device", "toaster", *options), "toaster")
    refused(run("evaluate", trained, "--data", shapes, "--mask-words", tmp_path / "no.txt", *options), "no.txt")


def test_evaluate_on_data_of_which_nothing_is_left(trained: Path, cache: Path, tmp_path: Path) -> None:
    data = make_shapes(tmp_path / "data", train=4, val=2, test=0)
    result = run("evaluate", trained, "--data", data, "--cache", cache, "--threads", 1)
    refused(result, "test")
