"""What this project asks of `transformers`: find a backbone, build it, read its trained weights."""

from __future__ import annotations

import inspect
import json
from typing import Any, Literal

import torch
from torch import Tensor, nn

from model.encoder_config import TransformersEncoder
from model.network.encoders.errors import BackboneError, looking_up, near

Side = Literal["vision", "text"]
# The name under which attention is registered that never looks at a mask's values.
_ATTENTION = "trunkline"
# What a config says besides the architecture: where it comes from, and what its classifier answered.
_NOT_ARCHITECTURE = (
    "_name_or_path",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "torch_dtype",
    "transformers_version",
)


def find_config(encoder: TransformersEncoder, side: Side) -> Any:
    """The backbone's config, with the encoder's arguments in it. Raises BackboneError."""
    from transformers import CONFIG_MAPPING, AutoConfig

    if encoder.type is not None and encoder.type not in CONFIG_MAPPING:
        raise BackboneError(f"type: transformers has no {encoder.type!r}{near(encoder.type, CONFIG_MAPPING.keys())}")
    if encoder.type is not None and not encoder.pretrained:
        config = AutoConfig.for_model(encoder.type)
    else:
        with looking_up(encoder.name, "transformers"):
            config = AutoConfig.from_pretrained(encoder.name, trust_remote_code=False)
        # Of a network of pictures and texts, the half that is asked for.
        config = getattr(config, f"{side}_config", config)
        if encoder.type not in (None, config.model_type):
            raise BackboneError(f"type: {encoder.name} is a {config.model_type}, not a {encoder.type}")
    known = config.to_dict()
    for name in encoder.arguments:
        if not hasattr(config, name):
            raise BackboneError(f"arguments: a {config.model_type} has no {name!r}{near(name, known)}")
    if encoder.arguments:
        # Made anew from what differs from the defaults: some fields follow from others.
        with looking_up(encoder.name, "transformers"):
            config = type(config)(**(config.to_diff_dict() if encoder.pretrained else {}) | encoder.arguments)
    return config


def settings_of(config: Any) -> dict[str, Any]:
    """A config as JSON-able values from which `build` makes the same network."""
    document: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in document.items() if name not in _NOT_ARCHITECTURE}


def build(settings: dict[str, Any]) -> nn.Module:
    """The backbone with fresh weights and without a head. Looks nothing up."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(**settings)
    model_class, options = _class_of(config)
    model: nn.Module = _encoder_of(model_class._from_config(config, **options))
    return model


def trained(encoder: TransformersEncoder, settings: dict[str, Any]) -> dict[str, Tensor]:
    """The trained weights of the named backbone. Raises BackboneError where one of them is missing."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(**settings)
    model_class, options = _class_of(config)
    with looking_up(encoder.name, "transformers"):
        model, report = model_class.from_pretrained(
            encoder.name, config=config, dtype=torch.float32, output_loading_info=True, **options
        )
    if report["missing_keys"]:
        raise BackboneError(f"{encoder.name}: its weights lack {', '.join(sorted(report['missing_keys'])[:3])}")
    weights: dict[str, Tensor] = _encoder_of(model).state_dict()
    return weights


def _class_of(config: Any) -> tuple[Any, dict[str, Any]]:
    """The class of the network without a head, and what to make it with."""
    from transformers import MODEL_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

    found: list[Any] = [
        mapping[type(config)] for mapping in (MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING) if type(config) in mapping
    ]
    if not found:
        raise BackboneError(f"transformers has no network for the type {config.model_type!r} alone")
    model_class = found[0]
    options: dict[str, Any] = {}
    # A head that nothing reads would be trained by nothing.
    if "add_pooling_layer" in inspect.signature(model_class).parameters:
        options["add_pooling_layer"] = False
    if model_class._supports_sdpa:
        _register_attention()
        options["attn_implementation"] = _ATTENTION
    else:
        options["attn_implementation"] = "eager"
    return model_class, options


def _encoder_of(model: Any) -> Any:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _register_attention() -> None:
    """PyTorch's attention, always with its mask.

    The library's own looks into the mask to see whether it can do without: that waits for the device, and a graph that
    was traced or captured would hold what was true of one batch.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def mask(*args: Any, **options: Any) -> Tensor | None:
        return sdpa_mask(*args, **options | {"allow_is_bidirectional_skip": False, "allow_is_causal_skip": False})

    AttentionInterface.register(_ATTENTION, sdpa_attention_forward)
    AttentionMaskInterface.register(_ATTENTION, mask)
