"""The bundle format: what was written comes back; what was damaged, altered or left out is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from model.bundle import FORMAT_VERSION, BundleError, load_bundle, save_bundle
from model.bundle_files import sealed, without_seal
from model.calibration import COVERAGES
from model.golden import check_golden
from model.network import Network
from model.predictor import Predictor, build_network, weights_of
from tests.support.hierarchy import shop_config
from tests.support.tiny import make_tiny_bundle, tiny_config, tiny_document

FILES = ("bundle.yaml", "model.safetensors", "calibration.json", "golden.json", "tokenizer.json")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def alter_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = bundle / "bundle.yaml"
    document = yaml.safe_load(without_seal(file.read_bytes()))
    change(document)
    file.write_bytes(sealed(yaml.safe_dump(document, sort_keys=False).encode()))


def fix_checksum(bundle: Path, name: str) -> None:
    digest = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    alter_manifest(bundle, lambda document: document["checksums"].update({name: digest}))


def alter_json(bundle: Path, name: str, change: Callable[[Any], object]) -> None:
    content = json.loads((bundle / name).read_text())
    change(content)
    (bundle / name).write_text(json.dumps(content))
    fix_checksum(bundle, name)


def alter_weights(bundle: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(bundle / "model.safetensors")
    change(weights)
    save_file(weights, bundle / "model.safetensors")
    fix_checksum(bundle, "model.safetensors")


def refusal(bundle: Path) -> str:
    """The message that reading, building and checking a bundle ends with."""

    def serve() -> None:
        loaded = load_bundle(bundle)
        check_golden(loaded, Predictor(loaded))

    with pytest.raises(BundleError) as caught:
        serve()
    return str(caught.value)


def test_round_trip(original: Path) -> None:
    loaded = load_bundle(original)
    assert loaded.config == tiny_config()
    assert (loaded.name, loaded.version) == ("tiny", "1")
    assert loaded.calibration.threshold("colour", ("image", "text"), 0.9) == COVERAGES[COVERAGES.index(0.9)]
    assert loaded.provenance == {"made_by": "tests", "seed": 0}
    assert [sorted(case.raw()) for case in loaded.golden] == [["image", "text"], ["image"], ["text"]]
    network = build_network(loaded)
    for name, value in network.state_dict().items():
        assert np.array_equal(value, loaded.weights[name]), name
    check_golden(loaded, Predictor(loaded))


def test_the_same_content_has_the_same_digest_and_other_content_another(tmp_path: Path, original: Path) -> None:
    again = load_bundle(make_tiny_bundle(tmp_path / "again"))
    other = load_bundle(make_tiny_bundle(tmp_path / "other", seed=1))
    assert load_bundle(original).digest == again.digest != other.digest


def test_every_file_of_a_bundle_is_text_but_the_weights_which_are_safetensors(original: Path) -> None:
    assert {file.name for file in original.iterdir()} == set(FILES)
    for file in original.iterdir():
        if file.name != "model.safetensors":
            file.read_text(encoding="utf-8")


def test_what_a_client_may_know_is_json_and_agrees_with_the_network(original: Path) -> None:
    loaded = load_bundle(original)
    described = json.loads(json.dumps(loaded.describe()))
    relation = described["relation"]
    network = build_network(loaded)
    assert relation["tasks"] == list(loaded.config.tasks)
    assert relation["T"] == network.task_relation.T.int().tolist()
    torch.testing.assert_close(torch.tensor(relation["R"]), network.task_relation.R().detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.tensor(relation["gamma"]), network.task_relation.gamma.detach(), rtol=0, atol=1e-5)
    assert described["tasks"]["colour"] == {"kind": "multiclass", "labels": ["blue", "green", "red"]}
    assert described["modalities"]["text"]["max_tokens"] == 12


def test_a_hierarchy_is_kept_with_the_labels_and_told_to_clients(tmp_path: Path) -> None:
    loaded = load_bundle(make_tiny_bundle(tmp_path / "shop", config=shop_config()))
    assert loaded.config == shop_config()
    assert [chain.tasks for chain in loaded.hierarchies.chains] == [("article", "kind", "section")]
    described = json.loads(json.dumps(loaded.describe()))
    assert described["hierarchies"] == [["article", "kind", "section"]]
    assert described["tasks"]["kind"]["parents"]["top"] == "clothes"
    assert "parents" not in described["tasks"]["colour"]
    check_golden(loaded, Predictor(loaded))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: config["tasks"]["article"]["parents"].update(shirt="hat"), "'hat' is no label of 'kind'"),
        (lambda config: config["tasks"]["kind"].update(parents={}), "no class of 'article' has one above it"),
        (lambda config: config["hierarchies"][0].reverse(), "tasks.article.parents: no hierarchy"),
        (lambda config: config["hierarchies"].clear(), "tasks.article.parents: no hierarchy"),
    ],
)
def test_a_hierarchy_that_does_not_fit_the_labels_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    path = make_tiny_bundle(tmp_path / "shop", config=shop_config())
    alter_manifest(path, lambda document: change(document["config"]))
    message = refusal(path)
    assert "bundle.yaml" in message
    assert said in message


def test_a_changed_hierarchy_is_another_bundle_and_needs_its_checksum(tmp_path: Path) -> None:
    path = make_tiny_bundle(tmp_path / "shop", config=shop_config())
    before = load_bundle(path).digest
    content = (path / "bundle.yaml").read_text()
    assert "belt: belts" in content
    (path / "bundle.yaml").write_text(content.replace("belt: belts", "belt: watches"))
    assert "its SHA-256 is not the one in its last line" in refusal(path)
    alter_manifest(path, lambda document: None)
    assert load_bundle(path).digest != before


def test_several_texts_have_a_tokenizer_each(tmp_path: Path) -> None:
    modalities = tiny_document()["modalities"]
    config = tiny_config(modalities=modalities | {"brand": modalities["text"] | {"columns": ["brand"]}})
    loaded = load_bundle(make_tiny_bundle(tmp_path / "two", config=config))
    assert set(loaded.tokenizers) == {"text", "brand"}
    assert {file.name for file in (tmp_path / "two").iterdir()} >= {"tokenizer-0.json", "tokenizer-1.json"}
    check_golden(loaded, Predictor(loaded))


def test_writing_over_a_bundle_drops_what_was_measured_on_the_old_one(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    for name in ("history.json", "report.json", "README.md", "report.html"):
        (bundle / name).write_text("{}")
    save_bundle(
        bundle,
        config=loaded.config,
        weights=loaded.weights,
        relation=loaded.relation,
        tokenizers=loaded.tokenizers,
        calibration=loaded.calibration,
        golden=loaded.golden,
        provenance={},
    )
    assert {file.name for file in bundle.iterdir()} == set(FILES)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "absent")
    assert "bundle.yaml" in refusal(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    assert name in refusal(bundle)


@pytest.mark.parametrize("name", FILES)
def test_an_empty_or_cut_file_is_named(bundle: Path, name: str) -> None:
    content = (bundle / name).read_bytes()
    for damaged in (b"", content[: len(content) // 2]):
        (bundle / name).write_bytes(damaged)
        assert name in refusal(bundle)


@pytest.mark.parametrize("name", FILES[1:])
def test_one_flipped_bit_is_named(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    assert f"{name}: its SHA-256" in refusal(bundle)


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("content", [b"", b"null", b"{}", b"[]", b"[[]]", b"\xff\xfe", b'{"a": 1}'])
def test_a_file_replaced_with_its_checksum_is_named(bundle: Path, name: str, content: bytes) -> None:
    (bundle / name).write_bytes(content)
    fix_checksum(bundle, name)
    assert name in refusal(bundle)


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, None, "1", "one"])
def test_an_unknown_version_is_named(bundle: Path, version: object) -> None:
    alter_manifest(bundle, lambda document: document.update(format=version))
    message = refusal(bundle)
    assert "bundle.yaml" in message
    assert f"reads format {FORMAT_VERSION}" in message


@pytest.mark.parametrize("content", [b"format: 1\nrelation: 2024-13-45", b"format: [", b"\x00", b"- 1", b"format: 1"])
def test_a_manifest_that_is_none(bundle: Path, content: bytes) -> None:
    for whole in (content, sealed(content + b"\n")):
        (bundle / "bundle.yaml").write_bytes(whole)
        assert "bundle.yaml" in refusal(bundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(extra=1),
        lambda d: d.pop("tokenizers"),
        lambda d: d["tokenizers"].clear(),
        lambda d: d["config"].update(tasks={}),
        lambda d: d["config"]["network"].update(fusion="sum"),
        lambda d: d["config"]["tasks"]["colour"].update(labels=["red"]),
        lambda d: d["relation"].pop(),
        lambda d: d["relation"][0].pop(),
        lambda d: d["relation"][0].__setitem__(1, 2),
        lambda d: d["relation"][1].__setitem__(1, 1),
    ],
)
def test_a_manifest_that_does_not_fit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    alter_manifest(bundle, change)
    assert "bundle.yaml" in refusal(bundle)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd", "a/b.json", "..", "", "a\0b", "."])
def test_no_path_leaves_the_folder(bundle: Path, name: str) -> None:
    (bundle.parent / "secret.json").write_bytes((bundle / "tokenizer.json").read_bytes())

    def change(document: dict[str, Any]) -> None:
        document["tokenizers"]["text"] = name
        document["checksums"][name] = document["checksums"]["tokenizer.json"]

    alter_manifest(bundle, change)
    assert "bundle.yaml" in refusal(bundle)


def test_weights_that_do_not_fit_the_network(bundle: Path) -> None:
    alter_weights(bundle, lambda weights: weights.pop("task_relation.gamma"))
    assert "model.safetensors" in refusal(bundle)


def test_weights_of_another_shape(bundle: Path) -> None:
    alter_weights(bundle, lambda weights: weights.update({"task_relation.gamma": torch.zeros(2)}))
    assert "model.safetensors" in refusal(bundle)


def test_a_relation_that_is_not_that_of_the_weights(bundle: Path) -> None:
    alter_manifest(bundle, lambda document: document["relation"][0].__setitem__(1, 0))
    message = refusal(bundle)
    assert "model.safetensors" in message
    assert "bundle.yaml" in message


@pytest.mark.parametrize("factor", [1.05, float("nan")])
def test_golden_cases_notice_altered_weights(bundle: Path, factor: float) -> None:
    alter_weights(bundle, lambda weights: weights["shared_network.input.weight"].mul_(factor))
    message = refusal(bundle)
    assert "golden.json" in message
    assert "case 0" in message


def test_golden_cases_notice_an_altered_tokenizer(bundle: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        vocabulary = content["model"]["vocab"]
        last = sorted(vocabulary, key=vocabulary.get)[3:]
        content["model"]["vocab"] |= {word: vocabulary[other] for word, other in zip(last, last[::-1], strict=True)}

    alter_json(bundle, "tokenizer.json", change)
    assert "golden.json: case 0: the text is prepared differently" in refusal(bundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda cases: cases.clear(),
        lambda cases: cases[0]["answers"]["colour"].__setitem__(0, 0.999),
        lambda cases: cases[0]["answers"]["colour"].pop(),
        lambda cases: cases[0]["answers"].pop("colour"),
        lambda cases: cases[0]["answers"].update(size=[1.0]),
        lambda cases: cases[0]["answers"].clear(),
        lambda cases: cases[0]["images"].update(image="AAAA"),
        lambda cases: cases[0]["images"].update(image="?"),
        lambda cases: cases[0]["images"].update(video="AAAA"),
        lambda cases: cases[0]["texts"].update(image="red"),
        lambda cases: cases[0]["prepared"].clear(),
        lambda cases: (cases[1]["images"].clear(), cases[1]["texts"].clear()),
        lambda cases: cases[0].update(more=1),
    ],
)
def test_altered_golden_cases_are_named(bundle: Path, change: Callable[[list[Any]], object]) -> None:
    alter_json(bundle, "golden.json", change)
    assert "golden.json" in refusal(bundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["patterns"].pop("image"),
        lambda c: c["patterns"]["image"].pop("colour"),
        lambda c: c["patterns"]["image"]["colour"]["beta"].update(fused=0.5),
        lambda c: c["patterns"]["image"]["colour"]["beta"].update(fused=float("nan")),
        lambda c: c["patterns"]["image"]["colour"].update(thresholds=[1]),
        lambda c: c["patterns"]["image"]["colour"]["temperatures"].update(fused="warm"),
        lambda c: c.update(more=1),
    ],
)
def test_altered_calibration_is_named(bundle: Path, change: Callable[[Any], object]) -> None:
    alter_json(bundle, "calibration.json", change)
    assert "calibration.json" in refusal(bundle)


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff"])
def test_a_damaged_report_is_named(bundle: Path, content: bytes) -> None:
    (bundle / "report.json").write_bytes(content)
    fix_checksum(bundle, "report.json")
    assert "report.json" in refusal(bundle)


def test_an_interrupted_write_is_no_bundle(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_bundle(bundle)

    def full(path: Path, content: bytes) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("model.bundle.write_atomically", full)
    with pytest.raises(OSError, match="no space"):
        save_bundle(
            bundle,
            config=loaded.config,
            weights=loaded.weights,
            relation=loaded.relation,
            tokenizers=loaded.tokenizers,
            calibration=loaded.calibration,
            golden=loaded.golden,
            provenance={},
        )
    assert "bundle.yaml" in refusal(bundle)


def test_a_bundle_without_relations(tmp_path: Path, bundle: Path) -> None:
    loaded = load_bundle(bundle)
    network = Network(loaded.config, loaded.vocab_sizes())
    save_bundle(
        tmp_path / "plain",
        config=loaded.config,
        weights=weights_of(network),
        relation=[[0] * 5 for _ in range(5)],
        tokenizers=loaded.tokenizers,
        calibration=loaded.calibration,
        golden=[],
        provenance={},
    )
    plain = load_bundle(tmp_path / "plain")
    assert plain.relation_weights() == {task: {} for task in plain.config.tasks}
    assert plain.describe()["relation"]["R"] == [[0.0] * 5 for _ in range(5)]
