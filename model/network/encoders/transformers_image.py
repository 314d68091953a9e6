"""Image backbones of `transformers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model.config import ImageModality
from model.encoder_config import Architecture, TransformersEncoder
from model.network.encoders import transformers_library
from model.network.encoders.errors import BackboneError
from model.network.encoders.feature_tokens import count_tokens, image_tokens
from model.network.encoders.layers import number_layers
from model.network.encoders.measure import multiplications
from model.network.encoders.named import BackboneEncoder, recorded
from model.network.encoders.pixels import Normalise


class TransformersImageEncoder(BackboneEncoder):
    """Pixels uint8 [B, H, W, 3] -> tokens [B, N, width]: the cells of a feature map, or a transformer's tokens."""

    def __init__(self, modality: ImageModality, encoder: TransformersEncoder) -> None:
        super().__init__(encoder, transformers_library.build(recorded(encoder).settings))
        self._source = encoder
        self.normalise = Normalise(modality)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode pixels; every token is real, so there is no mask."""
        pixels = self.normalise(inputs, next(self.backbone.parameters()).dtype)
        return image_tokens(self.backbone(pixel_values=pixels).last_hidden_state, self.width), None

    def layers(self) -> dict[str, int]:
        """See BackboneEncoder."""
        return number_layers(self.backbone)

    stages = layers

    def pretrained_weights(self) -> dict[str, Tensor]:
        """See BackboneEncoder."""
        return transformers_library.trained(self._source, recorded(self._source).settings)


def look_up(
    encoder: TransformersEncoder, modality: ImageModality, smaller: float | None
) -> tuple[Architecture, dict[str, Any]]:
    """The backbone's architecture, and the fields of the modality that follow from it.

    `smaller`: a share of the picture's size that it must take as well. Raises BackboneError.
    """
    config = transformers_library.find_config(encoder, "vision")
    found = _preprocessing(encoder, config)
    given = modality.model_fields_set
    own = found["height"], found["width"]
    size = tuple(getattr(modality, name) if name in given else found[name] for name in ("height", "width"))
    if not encoder.pretrained and hasattr(config, "image_size"):
        config.image_size = list(size) if size[0] != size[1] else size[0]
    settings = transformers_library.settings_of(config)
    with torch.device("meta"):
        backbone: Any = transformers_library.build(settings).eval()
    if backbone.main_input_name != "pixel_values":
        raise BackboneError(f"{encoder.name}: a {config.model_type} reads no pictures")
    width, tokens, cost = _measure(encoder.name, backbone, size, own)
    if smaller is not None:
        small = (round(size[0] * smaller), round(size[1] * smaller))
        try:
            _measure(encoder.name, backbone, small, own)
        except BackboneError as error:
            raise BackboneError(f"{error}; set training.small_image_epochs to 0") from None
    found |= {"height": size[0], "width": size[1]}
    architecture = Architecture(settings=settings, width=width, tokens=tokens, cost=cost)
    return architecture, {name: value for name, value in found.items() if name not in given}


def _measure(name: str, backbone: Any, size: tuple[int, ...], own: tuple[int, int]) -> tuple[int, int, float]:
    """Width and number of the tokens that a picture of `size` gives, and the multiplications that it takes."""
    try:
        output, cost = multiplications(lambda: backbone(pixel_values=torch.zeros(1, 3, *size, device="meta")))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise BackboneError(
            f"{name}: does not take pictures of {size[0]} × {size[1]} pixels ({str(error).strip().splitlines()[0]}); "
            f"it was made for {own[0]} × {own[1]}"
        ) from None
    features = getattr(output, "last_hidden_state", None)
    # A map has its channels first, a sequence of tokens last.
    width = features.shape[1 if features.dim() == 4 else -1] if isinstance(features, Tensor) else 0
    count = count_tokens(features, width) if width else 0
    if not count:
        raise BackboneError(f"{name}: gives no feature map and no sequence of tokens; choose another backbone")
    return width, count, cost


def _preprocessing(encoder: TransformersEncoder, config: Any) -> dict[str, Any]:
    """How the backbone's pictures were prepared, as fields of a modality."""
    from transformers.image_processing_base import ImageProcessingMixin

    document: dict[str, Any] = {}
    if encoder.pretrained or encoder.type is None:
        try:
            document, _ = ImageProcessingMixin.get_image_processor_dict(encoder.name)
        except OSError:
            document = {}  # some backbones come without; what most were trained with is the config's default
    found: dict[str, Any] = {}
    # Here pixels count from 0 to 1 when they are normalised.
    scale = 255 * document.get("rescale_factor", 1 / 255) if document.get("do_rescale", True) else 255.0
    if document.get("do_normalize", True) and "image_mean" in document and "image_std" in document:
        found["mean"] = tuple(value / scale for value in document["image_mean"])
        found["std"] = tuple(value / scale for value in document["image_std"])
    elif not document.get("do_normalize", True):
        found |= {"mean": (0.0, 0.0, 0.0), "std": (1 / scale,) * 3}
    size: Any = document.get("crop_size") if document.get("do_center_crop") else document.get("size")
    if size is None:
        size = getattr(config, "image_size", 224)
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge", 224)
        size = (size.get("height", edge), size.get("width", edge))
    elif isinstance(size, int):
        size = (size, size)
    return found | {"height": size[0], "width": size[1]}
