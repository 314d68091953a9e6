"""Shapes of the answers, for the OpenAPI document alone: the service itself answers without building these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Confidence = Annotated[float, Field(ge=0, le=1, description="calibrated probability")]

Share = Annotated[float, Field(ge=0, le=1, description="share of validation inputs that look at least as strange")]


class Problem(BaseModel):
    """Why a request got no answer (RFC 9457)."""

    type: str = Field(description="urn:trunkline:problem: and a stable slug; switch on this")
    title: str = Field(description="the kind of problem, the same for every occurrence")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="what was wrong this time, and what to do")
    request_id: str = Field(description="also in X-Request-Id and in the service's log")


class Labelled(BaseModel):
    """A label and how likely it is."""

    label: str
    confidence: Confidence


class Explanation(BaseModel):
    """What an answer rests on; there with `explain`."""

    model_config = ConfigDict(extra="allow")

    alpha: dict[str, float] = Field(description="fusion weight by modality; they sum to 1")
    beta: dict[str, float] = Field(description="weight of each member of the mix: fused network, single modalities")
    relation: dict[str, float] = Field(description="how much the task reads from each other task")
    base: float | dict[str, float] | None = Field(
        default=None,
        description="the answer without any input, from the class shares in training; by label if multilabel",
    )
    shapley: dict[str, float | dict[str, float]] | None = Field(
        default=None,
        description="each input's contribution; base and contributions sum to the confidence or value; "
        "by label if multilabel",
    )
    parts: dict[str, Any] | None = Field(
        default=None,
        description="with explain=full, how much of each input's contribution is lost without one of its parts: "
        "a picture's heat map, row by row, or a text's words; by label if multilabel",
    )


class _Answer(BaseModel):
    explanation: Explanation | None = None


class Multiclass(_Answer):
    """One label of several."""

    kind: Literal["multiclass"]
    label: str
    confidence: Confidence
    top: list[Labelled] = Field(description="the top_k likeliest labels")
    set: list[str] | None = Field(default=None, description="labels that hold the true one at the asked coverage")


class Multilabel(_Answer):
    """Any number of labels."""

    kind: Literal["multilabel"]
    labels: list[str] = Field(description="labels that apply")
    confidences: dict[str, Confidence] = Field(description="every label's own probability")


class Binary(_Answer):
    """One of two labels."""

    kind: Literal["binary"]
    label: str
    confidence: Confidence


class Ordinal(_Answer):
    """A step on a scale."""

    kind: Literal["ordinal"]
    value: float
    confidence: Confidence
    interval: tuple[float, float] | None = Field(
        default=None, description="holds the true value at the asked coverage, .9 by default"
    )


class Regression(_Answer):
    """A number."""

    kind: Literal["regression"]
    value: float
    interval: tuple[float, float] | None = Field(
        default=None, description="holds the true value at the asked coverage, .9 by default"
    )


TaskAnswer = Annotated[Multiclass | Multilabel | Binary | Ordinal | Regression, Field(discriminator="kind")]


class ModelId(BaseModel):
    """Which model answered."""

    name: str
    version: str


class Prediction(BaseModel):
    """Every task's answer for one request."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "request_id": "5f0c2ab8d1e94c07",
                "model": {"name": "fashion", "version": "1"},
                "modalities": ["image", "text"],
                "predictions": {
                    "articleType": {
                        "kind": "multiclass",
                        "label": "Shirts",
                        "confidence": 0.97,
                        "top": [{"label": "Shirts", "confidence": 0.97}, {"label": "Tops", "confidence": 0.02}],
                    },
                    "audience": {
                        "kind": "multilabel",
                        "labels": ["men"],
                        "confidences": {"men": 0.99, "women": 0.03, "kids": 0.01},
                    },
                    "year": {"kind": "ordinal", "value": 2012, "confidence": 0.81, "interval": [2011, 2013]},
                },
                "familiarity": {"image": 0.61, "text": 0.33},
            }
        }
    )

    request_id: str
    model: ModelId
    modalities: list[str] = Field(description="inputs that the answer is based on")
    predictions: dict[str, TaskAnswer] = Field(description="answer by task")
    familiarity: dict[str, Share] | None = Field(
        default=None, description="how familiar each input is to the model; absent where the model cannot tell"
    )
    truncated: list[str] | None = Field(
        default=None, description="texts of which only the beginning was read; absent when none was cut"
    )


class Relation(BaseModel):
    """Which tasks read from which: rows read, columns are read from, in the order of `tasks`."""

    tasks: list[str]
    T: list[list[Literal[0, 1]]] = Field(description="1 where the row's task may read from the column's")
    sigma_theta: list[list[float]] = Field(description="σ(Θ): learnt strength of each relation, before T and the norm")
    R: list[list[float]] = Field(description="T ⊙ σ(Θ) with rows that sum to 1, or to 0 for a task that reads nothing")
    gamma: list[float] = Field(description="γ: weight with which each task adds what it reads to its own")


_MODEL: dict[str, JsonValue] = {
    "name": "fashion",
    "version": "1",
    "digest": "d57f88424e6d476c",
    "modalities": {
        "image": {"kind": "image", "height": 80, "width": 60, "fit": "pad"},
        "text": {"kind": "text", "max_tokens": 48},
    },
    "tasks": {
        "season": {"kind": "multiclass", "labels": ["Fall", "Spring", "Summer", "Winter"]},
        "year": {"kind": "ordinal", "labels": ["2011", "2012"]},
    },
    "hierarchies": [],
    "relation": {
        "tasks": ["season", "year"],
        "T": [[0, 0], [1, 0]],
        "sigma_theta": [[0.5, 0.5], [0.61, 0.5]],
        "R": [[0.0, 0.0], [1.0, 0.0]],
        "gamma": [0.1, 0.3],
    },
    "provenance": {"epochs": 24, "date": "2026-11-23"},
    "report": None,
}


class ModelDescription(BaseModel):
    """A model that is served: what goes in, what comes out, how its tasks are related, where it comes from."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": _MODEL})

    name: str
    version: str
    digest: str = Field(description="hash of weights and config")
    modalities: dict[str, dict[str, object]] = Field(
        description="input by part name: kind, size; fit: how a picture is brought to it, pad, stretch or crop"
    )
    tasks: dict[str, dict[str, object]] = Field(
        description="task by name: kind, labels; in a hierarchy also parents, the class one level up by label"
    )
    hierarchies: list[list[str]] = Field(description="chains of tasks, finest first, whose answers never contradict")
    relation: Relation
    provenance: dict[str, object] = Field(description="how the model was trained")
    report: dict[str, object] | None = Field(description="measured quality; null where it was not measured")


class ModelList(BaseModel):
    """Every model that is served."""

    model_config = ConfigDict(json_schema_extra={"example": {"default": "fashion", "models": [_MODEL]}})

    default: str = Field(description="the model that answers when a request names none")
    models: list[ModelDescription]


class Health(BaseModel):
    """A probe's good news; bad news is a problem document."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ready"}})

    status: Literal["live", "ready", "started"]
