"""The validated configuration that a training run reads and a bundle carries.

One document describes everything: which modalities come in, which tasks go out, the network between them and how
it is trained. Nothing else in the project knows how many modalities or tasks there are.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from model.encoder_config import BertEncoder, ConvEncoder, ImageEncoder, TextEncoder
from model.strict import Strict

TaskKind = Literal["multiclass", "multilabel", "binary", "regression", "ordinal"]

# Part names of a multipart request that are options, so no modality may take one.
RESERVED_NAMES = frozenset({"tasks", "top_k", "coverage", "explain", "model"})
# The name of the fused network among the members of the mix, each other one being named for its modality.
FUSED = "fused"
# The share of their size that pictures have in the early epochs, where a config asks for small ones.
SMALL_PICTURES = 0.75
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def _empty(value: Any) -> bool:
    """What a document without it says the same: bundles and unfinished runs from before the field stay as they were."""
    return not value


Level = Annotated[int, Field(ge=0, le=255)]
Positive = Annotated[float, Field(gt=0)]


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names each field and what it allows."""


class ImageModality(Strict):
    """A picture: where its file is, the size that it is brought to, the encoder that reads it."""

    kind: Literal["image"]
    path: str = Field(default="images/{id}.jpg", description="file name below the data folder; {column} is filled in")
    height: int = Field(default=80, ge=8, le=1024)
    width: int = Field(default=60, ge=8, le=1024)
    fit: Literal["pad", "stretch", "crop"] = "pad"
    background: tuple[Level, Level, Level] = (255, 255, 255)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    encoder: ImageEncoder = ConvEncoder()
    flip: bool = Field(default=True, description="mirror at random in training")
    zoom: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        exclude_if=_empty,
        description="how much nearer or farther off it may look in training",
    )
    erase: float = Field(
        default=0.0, ge=0, le=1, exclude_if=_empty, description="share of training pictures that lose a rectangle"
    )


class TextModality(Strict):
    """A text: the columns that it is joined from, its tokenizer's size, the encoder that reads it."""

    kind: Literal["text"]
    columns: tuple[str, ...] = Field(min_length=1)
    lowercase: bool = True
    vocab_size: int = Field(default=8000, ge=64, le=250_000)
    max_tokens: int = Field(default=48, ge=4, le=4096)
    tokenizer: Literal["learned", "backbone"] = Field(
        default="learned", description="learned from the training texts, or the backbone's; filled in by training"
    )
    pad_id: int = Field(default=0, ge=0, description="the id that stands for no token; filled in by training")
    encoder: TextEncoder = BertEncoder()
    word_dropout: float = Field(default=0.5, ge=0, le=1, description="share of training texts that lose words")
    label_word_dropout: float = Field(
        default=0.25, ge=0, le=1, description="share of training texts that lose every word that names a label"
    )
    label_words: tuple[str, ...] = Field(
        default=(), description="words that name a label besides those of the labels themselves, such as synonyms"
    )


Modality = Annotated[ImageModality | TextModality, Field(discriminator="kind")]


class Task(Strict):
    """One question that the network answers. `labels` is empty in a training config and filled in a bundle."""

    kind: TaskKind
    column: str | None = Field(default=None, description="the label's column; the task's own name by default")
    labels: tuple[str, ...] = Field(default=(), description="class names in the order of the head's outputs")
    map: dict[str, tuple[str, ...]] | None = Field(
        default=None, description="multilabel: the labels that each value of the column stands for"
    )
    separator: str | None = Field(default=None, description="multilabel: what separates labels in the column")
    weight: float = Field(default=1.0, gt=0)
    imbalance: Literal["none", "logit_adjustment", "class_weights"] = Field(
        default="none", description="how training makes up for rare classes"
    )
    scale: tuple[float, Positive] | None = Field(
        default=None, description="regression: mean and standard deviation of the training values"
    )
    parents: dict[str, str] = Field(
        default={},
        exclude_if=_empty,
        description="where a hierarchy has a task above this one: the class there that each label belongs to; "
        "filled in by training, which keeps those that are given",
    )

    @model_validator(mode="after")
    def _fits_kind(self) -> Task:
        if self.kind != "multilabel" and (self.map is not None or self.separator is not None):
            raise ValueError(f"map and separator belong to kind multilabel, not {self.kind}")
        if self.kind == "multilabel" and self.map is None and self.separator is None:
            raise ValueError("a multilabel task needs map or separator")
        if self.kind == "regression" and self.imbalance != "none":
            raise ValueError("imbalance is of classes; a regression has none")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must differ from one another")
        if self.kind == "binary" and len(self.labels) not in (0, 2):
            raise ValueError(f"labels: a binary task has 2, the negative one first, not {len(self.labels)}")
        if self.kind == "ordinal" and self.labels:
            try:
                values = [float(label) for label in self.labels]
            except ValueError:
                raise ValueError("labels: those of an ordinal task are numbers") from None
            if values != sorted(values):
                raise ValueError("labels: those of an ordinal task stand in ascending order")
        return self


class NetworkConfig(Strict):
    """Sizes of everything between the encoders and the answers."""

    width: int = Field(default=192, ge=8, description="d, the common width")
    heads: int = Field(default=4, ge=1)
    shared_blocks: int = Field(default=1, ge=0, le=12, description="cross-modal blocks")
    fusion: Literal["alpha", "concat", "gated", "cross_attention"] = "alpha"
    trunk_layers: int = Field(default=2, ge=0, le=16)
    task_width: int = Field(default=128, ge=4, description="width of t_k")
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _divides(self) -> NetworkConfig:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


class RelationConfig(Strict):
    """Task relation T: absent, given as pairs of tasks, or estimated from the data."""

    kind: Literal["none", "given", "label_affinity", "gradient_affinity"] = "none"
    pairs: tuple[tuple[str, str], ...] = Field(default=(), description="given: (k, j) lets task k read from task j")
    threshold: float = Field(default=0.3, description="affinity from which two tasks are related")
    penalty: float = Field(default=1e-4, ge=0, description="λ of λ Σ T_ij ‖U_i − U_j‖²")


class TrainingConfig(Strict):
    """How the network is trained."""

    epochs: int = Field(default=16, ge=1)
    batch_size: int = Field(default=128, ge=2)
    optimizer: Literal["muon", "adamw"] = Field(
        default="muon", description="what moves the weight matrices of all that is trained from scratch"
    )
    learning_rate: float = Field(default=1.5e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of all steps")
    task_weighting: Literal["equal", "uncertainty", "upgrad", "mgda", "pcgrad"] = Field(
        default="equal", description="how the tasks' losses, or their gradients, become one"
    )
    label_smoothing: float = Field(default=0.05, ge=0, lt=0.5)
    modality_dropout: float = Field(
        default=0.5, ge=0, le=1, description="share of the loss in which samples lose modalities and words at random"
    )
    auxiliary_weight: float = Field(default=0.3, ge=0, description="weight of the single-modality heads' loss")
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    gradient_clip: float = Field(default=1.0, gt=0)
    patience: int = Field(default=6, ge=1, description="epochs without a better validation score before stopping")
    small_image_epochs: float = Field(
        default=0.0, ge=0, le=1, description="share of epochs, from the start, at three quarters of the image size"
    )
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0


class DataConfig(Strict):
    """The table and the columns that are neither input nor label."""

    table: str = "styles.csv"
    id: str | None = Field(default="id", description="column with a value of its own in each row; null: the line")
    split: str | None = Field(
        default="split", description="column with train, val, test; where it is absent or null, rows are split by group"
    )
    groups: tuple[str, ...] = Field(
        default=(), description="columns whose equal values keep rows in one split, where there is no split column"
    )
    val_share: float = Field(default=0.1, gt=0, lt=0.5)
    test_share: float = Field(default=0.1, ge=0, lt=0.5)


class Config(Strict):
    """Everything that a training run needs besides the data, and a bundle besides the weights."""

    name: str
    version: str = "1"
    source: str = Field(default="", description="where the training data comes from and what is known of its licence")
    data: DataConfig = DataConfig()
    modalities: dict[str, Modality] = Field(min_length=1)
    tasks: dict[str, Task] = Field(min_length=1)
    hierarchies: tuple[tuple[str, ...], ...] = Field(
        default=(),
        exclude_if=_empty,
        description="chains of multiclass tasks, the finest first, whose answers do not contradict each other",
    )
    network: NetworkConfig = NetworkConfig()
    relation: RelationConfig = RelationConfig()
    training: TrainingConfig = TrainingConfig()

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("use letters, digits, '.', '_' and '-', at most 64, a letter or digit first")
        return value

    @field_validator("modalities", "tasks", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for name in value:
                if not isinstance(name, str) or not name.strip() or "," in name:
                    raise ValueError(f"{name!r}: a name is a non-empty string without commas")
                if name in RESERVED_NAMES:
                    raise ValueError(f"{name!r} is an option of a request; choose another name")
        return value

    @field_validator("modalities")
    @classmethod
    def _modality_names(cls, value: dict[str, Modality]) -> dict[str, Modality]:
        for name in value:
            if name == FUSED or "+" in name:
                raise ValueError(f"{name!r}: a modality's name is not {FUSED!r} and holds no '+'")
        return value

    @model_validator(mode="after")
    def _pairs_exist(self) -> Config:
        known = ", ".join(self.tasks)
        for pair in self.relation.pairs:
            for task in pair:
                if task not in self.tasks:
                    raise ValueError(f"relation.pairs: no task {task!r}; the tasks are {known}")
        if self.relation.kind == "given" and not self.relation.pairs:
            raise ValueError("relation.pairs: kind given needs at least one pair of tasks")
        return self

    @model_validator(mode="after")
    def _hierarchies_fit(self) -> Config:
        above: dict[str, str] = {}
        seen: set[str] = set()
        for chain in self.hierarchies:
            shown = " → ".join(chain)
            if len(chain) < 2:
                raise ValueError(f"hierarchies: [{shown}] has one level or none; name two tasks at least, finest first")
            for name in chain:
                if name not in self.tasks:
                    raise ValueError(f"hierarchies: no task {name!r}; the tasks are {', '.join(self.tasks)}")
                if self.tasks[name].kind != "multiclass":
                    kind = self.tasks[name].kind
                    raise ValueError(f"hierarchies: {name!r} is {kind}; the tasks of a hierarchy are multiclass")
                if name in seen:
                    raise ValueError(f"hierarchies: {name!r} stands twice; a task has one place in one hierarchy")
                seen.add(name)
            above |= dict(pairwise(chain))
        for name, task in self.tasks.items():
            if task.parents and name not in above:
                raise ValueError(f"tasks.{name}.parents: no hierarchy names a task above {name!r}")
            strange = [label for label in task.parents if task.labels and label not in task.labels]
            if strange:
                raise ValueError(f"tasks.{name}.parents: {strange[0]!r} is no label of {name!r}")
            known = self.tasks[above[name]].labels if task.parents else ()
            strange = [parent for parent in task.parents.values() if known and parent not in known]
            if strange:
                raise ValueError(f"tasks.{name}.parents: {strange[0]!r} is no label of {above[name]!r}")
        return self


def parse_config(document: Any, source: str = "config") -> Config:
    """Validate a parsed YAML document.

    Raises ConfigError with a line a fault: the field's path, what was wrong, and the values that are allowed.
    """
    if not isinstance(document, dict):
        found = "is empty" if document is None else f"is a {type(document).__name__}"
        raise ConfigError(f"{source}: {found}; it must hold fields and values, and needs name, modalities and tasks")
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{source}: {describe_validation_error(error)}") from None


def describe_validation_error(error: ValidationError) -> str:
    """One line a fault, with the field's path, what is wrong with it and what was given."""
    lines = []
    for fault in error.errors(include_url=False):
        path = ".".join(str(part) for part in fault["loc"]) or "(document)"
        message = fault["msg"].removeprefix("Value error, ")
        given = fault.get("input")
        shown = f" (given: {given!r})" if isinstance(given, (str, int, float, bool)) else ""
        lines.append(f"{path}: {message}{shown}")
    return "\n  ".join(["invalid", *lines])


def load_config(path: str | Path) -> Config:
    """Read and validate a YAML training config. Raises ConfigError naming the file and each wrong field."""
    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a date that is none
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    return parse_config(document, str(path))
