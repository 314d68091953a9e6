"""What a config's named backbones are: looked up once, when training starts, and recorded in the config."""

from __future__ import annotations

import torch

from model.config import SMALL_PICTURES, Config, ImageModality, Modality
from model.encoder_config import TimmEncoder, TransformersEncoder
from model.network.encoders import timm_library, transformers_image, transformers_text
from model.network.encoders.build import build_encoder
from model.network.encoders.errors import BackboneError

# Enough for every backbone's own special tokens; a network on the meta device has no weights.
_ANY_VOCABULARY = 1 << 18


def resolve_encoders(config: Config) -> Config:
    """The config with each backbone's architecture in it, and the preprocessing that the backbone was trained with.

    Fields that the config gives stay: a picture's size, mean and std. A backbone that is recorded already, as in a
    bundle, is not looked up again. Raises BackboneError, a ConfigError, naming the modality.
    """
    smaller = SMALL_PICTURES if config.training.small_image_epochs > 0 else None
    modalities: dict[str, Modality] = {}
    for name, modality in config.modalities.items():
        try:
            modalities[name] = _resolved(modality, smaller)
        except BackboneError as error:
            raise BackboneError(f"modalities.{name}.encoder: {error}") from None
    return config.model_copy(update={"modalities": modalities})


def _resolved(modality: Modality, smaller: float | None) -> Modality:
    encoder = modality.encoder
    if not isinstance(encoder, (TimmEncoder, TransformersEncoder)) or encoder.architecture is not None:
        return modality
    if isinstance(modality, ImageModality):
        if isinstance(encoder, TimmEncoder):
            architecture, found = timm_library.look_up(encoder, modality, smaller)
        else:
            architecture, found = transformers_image.look_up(encoder, modality, smaller)
    else:
        assert isinstance(encoder, TransformersEncoder)
        architecture, found = transformers_text.look_up(encoder, modality)
    document = modality.model_dump(exclude={"encoder"}) | found
    recorded = encoder.model_copy(update={"architecture": architecture})
    resolved: Modality = type(modality).model_validate(document | {"encoder": recorded.model_dump()})
    with torch.device("meta"):
        build_encoder(resolved, _ANY_VOCABULARY)  # what cannot be frozen as asked for is said now
    return resolved
