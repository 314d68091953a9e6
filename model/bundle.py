"""The bundle format: a folder that holds a trained model and everything needed to serve it. No pickle, anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from model.bundle_files import (
    CALIBRATION,
    CARD,
    GOLDEN,
    GRAPH,
    HISTORY,
    MANIFEST,
    MEASURED,
    PAGE,
    REPORT,
    WEIGHTS,
    BundleError,
    read_checked,
    read_file,
    sealed,
    unseal,
    without_seal,
    write_atomically,
)
from model.calibration import Calibration, check_complete
from model.config import Config, ConfigError, TextModality, describe_validation_error, parse_config
from model.familiarity import groups_in
from model.golden_case import GoldenCase
from model.graph import GraphError, check_references
from model.hierarchy import Hierarchies
from model.history import Epoch, from_json, to_json
from model.preprocess import TextTokenizer

__all__ = [
    "CALIBRATION", "CARD", "FORMAT_VERSION", "GOLDEN", "GRAPH", "HISTORY", "MANIFEST", "PAGE", "REPORT", "WEIGHTS",
    "Bundle", "BundleError", "Manifest", "add_files", "load_bundle", "save_bundle", "seal_bundle", "write_atomically",
]  # fmt: skip

FORMAT_VERSION = 1
# Of the report, what pictures are drawn from: many times the size of the figures, and in no answer of the service.
_FOR_CURVES = ("reliability", "confusions")


class Manifest(BaseModel):
    """What `bundle.yaml` holds."""

    model_config = ConfigDict(extra="forbid")

    format: int
    config: dict[str, Any]
    relation: list[list[int]] = Field(description="T, a row and a column a task")
    tokenizers: dict[str, str] = Field(description="text modality -> file name")
    checksums: dict[str, str] = Field(description="file name -> SHA-256")
    provenance: dict[str, Any] = {}


@dataclass
class Bundle:
    """A bundle whose files were read and found consistent.

    `weights`: parameter -> values; `graph`: the network as ONNX, which some bundles have. A runtime makes one of the
    two answer. `history`: the epochs of its training, none where it was not kept. `hierarchies`: what keeps the answers
    of one request from contradicting one another.
    """

    path: Path
    config: Config
    hierarchies: Hierarchies = field(repr=False)
    relation: list[list[int]]
    tokenizers: dict[str, TextTokenizer]
    calibration: Calibration
    golden: list[GoldenCase]
    history: list[Epoch]
    report: dict[str, Any] | None
    provenance: dict[str, Any]
    digest: str
    weights: dict[str, NDArray[np.generic]] = field(repr=False)
    graph: Path | None

    @property
    def name(self) -> str:
        """The name that requests use."""
        return self.config.name

    @property
    def version(self) -> str:
        """The version that answers state."""
        return self.config.version

    def vocab_sizes(self) -> dict[str, int]:
        """Text modality -> size of its tokenizer."""
        return {name: tokenizer.vocab_size for name, tokenizer in self.tokenizers.items()}

    @cached_property
    def _sigma_theta(self) -> list[list[float]]:
        theta = self.weights["task_relation.theta"]
        sigma = 1 / (1 + np.exp(-theta.astype(np.float64)))
        return [[round(value, 6) for value in row] for row in sigma.tolist()]

    def relation_weights(self) -> dict[str, dict[str, float]]:
        """R as the network uses it: task -> task that it reads from -> weight; a task's weights sum to 1, or none."""
        tasks = list(self.config.tasks)
        result: dict[str, dict[str, float]] = {}
        for k, task in enumerate(tasks):
            row = {tasks[j]: self._sigma_theta[k][j] for j in range(len(tasks)) if self.relation[k][j]}
            total = sum(row.values())
            result[task] = {other: value / total for other, value in row.items()}
        return result

    def describe(self) -> dict[str, Any]:
        """What a client may know of the bundle, as JSON-able values: the body of `GET /models/{name}`."""
        tasks = list(self.config.tasks)
        weights = self.relation_weights()
        modalities: dict[str, Any] = {}
        for name, modality in self.config.modalities.items():
            if isinstance(modality, TextModality):
                modalities[name] = {"kind": modality.kind, "max_tokens": modality.max_tokens}
            else:
                size = {"height": modality.height, "width": modality.width}
                modalities[name] = {"kind": modality.kind, **size, "fit": modality.fit}
        return {
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "modalities": modalities,
            "tasks": {
                name: {"kind": task.kind, "labels": list(task.labels)}
                | ({"parents": dict(task.parents)} if task.parents else {})
                for name, task in self.config.tasks.items()
            },
            "hierarchies": [list(chain) for chain in self.config.hierarchies],
            "relation": {
                "tasks": tasks,
                "T": self.relation,
                "sigma_theta": self._sigma_theta,
                "R": [[round(weights[k].get(j, 0.0), 6) for j in tasks] for k in tasks],
                "gamma": [round(value, 6) for value in self.weights["task_relation.gamma"].tolist()],
            },
            "provenance": self.provenance,
            "report": self.report and {name: part for name, part in self.report.items() if name not in _FOR_CURVES},
        }


def load_bundle(path: str | Path) -> Bundle:
    """Read a bundle and check that its files are whole and fit together.

    Raises BundleError that names the file and what to do. The golden cases are checked by `model.golden`, which needs
    a built network.
    """
    path = Path(path)
    if not path.is_dir():
        raise BundleError(f"{path}: no such folder; a bundle is a folder with {MANIFEST} in it")
    manifest = _read_manifest(path)
    try:
        config = parse_config(manifest.config, str(path / MANIFEST))
    except ConfigError as error:
        raise BundleError(str(error)) from None
    for task_name, task in config.tasks.items():
        if task.kind != "regression" and len(task.labels) < (1 if task.kind == "multilabel" else 2):
            raise BundleError(f"{path / MANIFEST}: task {task_name!r} has too few labels")
    try:
        hierarchies = Hierarchies(config)
    except ValueError as error:
        raise BundleError(f"{path / MANIFEST}: {error}") from None
    count = len(config.tasks)
    if len(manifest.relation) != count or any(len(row) != count for row in manifest.relation):
        raise BundleError(f"{path / MANIFEST}: relation must be {count} × {count}, a row and a column a task")
    for k, row in enumerate(manifest.relation):
        if row[k] or not {*row} <= {0, 1}:
            raise BundleError(f"{path / MANIFEST}: relation holds zeros and ones, and zeros on its diagonal")
    # Whatever the manifest names, read or not, is what it was when the bundle was made.
    content = {
        name: read_checked(path, name, manifest.checksums.get(name))
        for name in dict.fromkeys((WEIGHTS, CALIBRATION, GOLDEN, *manifest.checksums))
    }
    tokenizers = {}
    for name, modality in config.modalities.items():
        if isinstance(modality, TextModality):
            file = manifest.tokenizers.get(name)
            if file is None:
                raise BundleError(f"{path / MANIFEST}: no tokenizer named for the text modality {name!r}")
            if file not in content:
                read_checked(path, file, None)
            try:
                tokenizers[name] = TextTokenizer.load(path / file, modality)
            except ValueError as error:
                raise BundleError(f"{path / file}: {error}") from None
    try:
        calibration = Calibration.model_validate_json(content[CALIBRATION])
        check_complete(calibration, config)
    except ValidationError as error:
        raise BundleError(f"{path / CALIBRATION}: {describe_validation_error(error)}") from None
    except ValueError as error:
        raise BundleError(f"{path / CALIBRATION}: {error}") from None
    try:
        golden = [GoldenCase.model_validate(case) for case in json.loads(content[GOLDEN])]
    except ValidationError as error:
        raise BundleError(f"{path / GOLDEN}: {describe_validation_error(error)}") from None
    except (ValueError, TypeError) as error:
        raise BundleError(f"{path / GOLDEN}: not a list of cases: {error}") from None
    weights = _read_weights(path / WEIGHTS, content[WEIGHTS], manifest.relation)
    groups = groups_in({name: values.shape for name, values in weights.items()})
    if len(groups) != (len(config.modalities) if calibration.familiarity else 0):
        raise BundleError(f"{path / CALIBRATION}: its familiarity is not that of the weights; copy the bundle again")
    graph = None
    if GRAPH in manifest.checksums:
        graph = path / GRAPH
        try:
            check_references(content[GRAPH], WEIGHTS, content[WEIGHTS])
        except GraphError as error:
            raise BundleError(f"{graph}: {error}") from None
    # Of what answers follow from: a bundle stays the same when it is measured, and however long its training took.
    answering = sorted(entry for entry in manifest.checksums.items() if entry[0] not in (HISTORY, *MEASURED))
    digest = hashlib.sha256(repr(answering).encode() + _canonical(manifest.config)).hexdigest()
    return Bundle(
        path=path,
        config=config,
        hierarchies=hierarchies,
        relation=manifest.relation,
        tokenizers=tokenizers,
        calibration=calibration,
        golden=golden,
        history=_read_history(path / HISTORY, content.get(HISTORY)),
        report=_read_report(path / REPORT, content.get(REPORT)),
        provenance=manifest.provenance,
        digest=digest[:16],
        weights=weights,
        graph=graph,
    )


def save_bundle(
    path: str | Path,
    *,
    config: Config,
    weights: Mapping[str, NDArray[np.generic]],
    relation: list[list[int]],
    tokenizers: dict[str, TextTokenizer],
    calibration: Calibration,
    golden: list[GoldenCase],
    provenance: dict[str, Any],
    history: Sequence[Epoch] = (),
) -> Path:
    """Write a bundle; the manifest comes last, so that a half-written folder is never taken for a bundle."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / MANIFEST).unlink(missing_ok=True)
    # What was made from, or measured on, other weights does not hold for these.
    for stale in (GRAPH, HISTORY, *MEASURED):
        (path / stale).unlink(missing_ok=True)
    files: dict[str, bytes] = {
        WEIGHTS: save_safetensors({name: np.asarray(values) for name, values in weights.items()}),
        CALIBRATION: (calibration.model_dump_json(indent=1) + "\n").encode(),
        GOLDEN: (json.dumps([case.model_dump() for case in golden], indent=1) + "\n").encode(),
    }
    if history:
        files[HISTORY] = to_json(history)
    names = {
        name: "tokenizer.json" if len(tokenizers) == 1 else f"tokenizer-{i}.json" for i, name in enumerate(tokenizers)
    }
    checksums = {}
    for name, tokenizer in tokenizers.items():
        tokenizer.save(path / names[name])
        checksums[names[name]] = hashlib.sha256((path / names[name]).read_bytes()).hexdigest()
    for file, content in files.items():
        write_atomically(path / file, content)
        checksums[file] = hashlib.sha256(content).hexdigest()
    manifest = Manifest(
        format=FORMAT_VERSION,
        config=config.model_dump(mode="json"),
        relation=relation,
        tokenizers=names,
        checksums=checksums,
        provenance=provenance,
    )
    _write_manifest(path, manifest)
    return path


def add_files(path: Path, files: Mapping[str, bytes]) -> None:
    """Put files into a bundle, or in the place of those that it has.

    An interruption leaves a bundle without them: what the manifest does not name is not looked at. Raises BundleError
    for a bundle whose manifest is not right.
    """
    manifest = _read_manifest(path)
    if files.keys() & manifest.checksums.keys():
        for name in files:
            manifest.checksums.pop(name, None)
        _write_manifest(path, manifest)
    for name, content in files.items():
        write_atomically(path / name, content)
        manifest.checksums[name] = hashlib.sha256(content).hexdigest()
    _write_manifest(path, manifest)


def seal_bundle(path: str | Path) -> Bundle:
    """Write the checksums of what people may change: `bundle.yaml` itself, the report, its page and the card.

    For a change that was meant, and for bundles from before these files had checksums. The other files must be as they
    were made. Raises BundleError, and then nothing was written; the bundle is returned as it is read back.
    """
    path = Path(path)
    manifest = _parse_manifest(path, without_seal(read_file(path, MANIFEST)))
    for name, expected in manifest.checksums.items():
        if name not in MEASURED:
            read_checked(path, name, expected)
    for name in MEASURED:
        manifest.checksums.pop(name, None)
        if (path / name).exists():
            manifest.checksums[name] = hashlib.sha256(read_file(path, name)).hexdigest()
    _write_manifest(path, manifest)
    return load_bundle(path)


def _write_manifest(path: Path, manifest: Manifest) -> None:
    document = yaml.safe_dump(manifest.model_dump(), sort_keys=False, allow_unicode=True, width=110)
    write_atomically(path / MANIFEST, sealed(document.encode()))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _read_manifest(folder: Path) -> Manifest:
    return _parse_manifest(folder, unseal(folder, read_file(folder, MANIFEST)))


def _parse_manifest(folder: Path, content: bytes) -> Manifest:
    path = folder / MANIFEST
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a date that is none
        raise BundleError(f"{path}: not valid YAML: {error}") from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT_VERSION:
        raise BundleError(
            f"{path}: bundle format {found!r} is not known; this version of Trunkline reads format {FORMAT_VERSION}"
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise BundleError(f"{path}: {describe_validation_error(error)}") from None


def _read_weights(path: Path, content: bytes, relation: list[list[int]]) -> dict[str, NDArray[np.generic]]:
    try:
        weights: dict[str, NDArray[np.generic]] = load_safetensors(content)
    except SafetensorError as error:
        raise BundleError(f"{path}: not a safetensors file: {error}") from None
    count = len(relation)
    for name, shape in (("T", (count, count)), ("theta", (count, count)), ("gamma", (count,))):
        found = weights.get(f"task_relation.{name}")
        if found is None or found.shape != shape:
            raise BundleError(f"{path}: task_relation.{name} is missing or not of shape {shape}")
    if weights["task_relation.T"].tolist() != relation:
        raise BundleError(f"{path}: its task relation T is not the one in {MANIFEST}")
    return weights


def _read_history(path: Path, content: bytes | None) -> list[Epoch]:
    if content is None:
        return []
    try:
        return from_json(content)
    except ValidationError as error:
        raise BundleError(f"{path}: {describe_validation_error(error)}") from None


def _read_report(path: Path, content: bytes | None) -> dict[str, Any] | None:
    if content is None:
        return None
    try:
        report = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(report, dict):
        raise BundleError(f"{path}: must hold an object")
    return report
