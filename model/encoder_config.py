"""The part of a config that says which encoder reads a modality: one of this project, or a library's by its name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from model.strict import Strict


class ConvEncoder(Strict):
    """A residual convolutional network, trained from scratch."""

    kind: Literal["conv"] = "conv"
    widths: tuple[int, ...] = (32, 64, 128, 256)
    depths: tuple[int, ...] = (1, 2, 2, 2)
    stem_stride: Literal[1, 2, 4] = 2
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _same_length(self) -> ConvEncoder:
        if not self.widths or len(self.widths) != len(self.depths):
            raise ValueError("widths and depths need one entry a stage each, and at least one stage")
        if min(self.widths) < 1 or min(self.depths) < 1:
            raise ValueError("widths and depths must be 1 or more")
        return self


class BertEncoder(Strict):
    """A BERT-style transformer of the `transformers` library, trained from scratch."""

    kind: Literal["bert"] = "bert"
    width: int = Field(default=128, ge=8)
    layers: int = Field(default=2, ge=1, le=48)
    heads: int = Field(default=4, ge=1)
    feedforward: int = Field(default=512, ge=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _divides(self) -> BertEncoder:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


class Architecture(Strict):
    """What a named backbone was found to be: enough to build it again, in any later place, without looking it up."""

    settings: dict[str, Any] = Field(description="timm: model and its arguments; transformers: the model's config")
    width: int = Field(ge=1, description="channels of a token")
    tokens: int = Field(default=0, ge=0, description="how many tokens a picture gives")
    cost: float = Field(ge=0, description="multiplications: of a picture, or of a token of a text of half its length")


class Backbone(Strict):
    """A network that others have made, named; see docs/training.md."""

    name: str = Field(min_length=1, description="a folder, or the name by which the library or the hub knows it")
    pretrained: bool = Field(default=True, description="start from its trained weights; false: from random ones")
    arguments: dict[str, Any] = Field(default={}, description="settings of its architecture that are to differ")
    freeze: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        default=0, description="how many stages or layers, from the input, keep their weights; all: every one"
    )
    learning_rate: float = Field(default=1.0, gt=0, description="its last layer's share of training.learning_rate")
    layer_decay: float = Field(default=1.0, gt=0, le=1, description="a layer's rate over that of the layer behind it")
    architecture: Architecture | None = Field(default=None, description="filled in when training starts")


class TimmEncoder(Backbone):
    """An image backbone of `timm`."""

    kind: Literal["timm"]


class TransformersEncoder(Backbone):
    """An image or text backbone of `transformers`."""

    kind: Literal["transformers"]
    type: str | None = Field(
        default=None, description="its model type; a backbone that is not pretrained is then not looked up at all"
    )


NamedEncoder = TimmEncoder | TransformersEncoder


def _kind(default: str) -> Discriminator:
    def kind(value: Any) -> Any:
        return value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default)

    return Discriminator(kind)


ImageEncoder = Annotated[
    Annotated[ConvEncoder, Tag("conv")]
    | Annotated[TimmEncoder, Tag("timm")]
    | Annotated[TransformersEncoder, Tag("transformers")],
    _kind("conv"),
]
TextEncoder = Annotated[
    Annotated[BertEncoder, Tag("bert")] | Annotated[TransformersEncoder, Tag("transformers")], _kind("bert")
]
