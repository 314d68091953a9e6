"""Image backbones of `timm`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from model.config import ImageModality
from model.encoder_config import TimmEncoder
from model.network.encoders import timm_library
from model.network.encoders.feature_tokens import image_tokens
from model.network.encoders.layers import number_layers
from model.network.encoders.named import BackboneEncoder, recorded
from model.network.encoders.pixels import Normalise


class TimmImageEncoder(BackboneEncoder):
    """Pixels uint8 [B, H, W, 3] -> tokens [B, N, width]: the cells of a feature map, or a transformer's tokens."""

    def __init__(self, modality: ImageModality, encoder: TimmEncoder) -> None:
        super().__init__(encoder, timm_library.build(recorded(encoder).settings))
        self._source = encoder
        self.normalise = Normalise(modality)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode pixels; every token is real, so there is no mask."""
        dtype = next(self.backbone.parameters()).dtype
        backbone: Any = self.backbone
        return image_tokens(backbone.forward_features(self.normalise(inputs, dtype)), self.width), None

    def stages(self) -> dict[str, int]:
        """See BackboneEncoder."""
        return timm_library.group(self.backbone, coarse=True) or number_layers(self.backbone)

    def layers(self) -> dict[str, int]:
        """See BackboneEncoder."""
        return timm_library.group(self.backbone, coarse=False) or number_layers(self.backbone)

    def pretrained_weights(self) -> dict[str, Tensor]:
        """See BackboneEncoder."""
        return timm_library.trained(self._source, recorded(self._source).settings)
