"""What this project asks of `timm`: find a backbone, build it, read its trained weights."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from model.config import ImageModality
from model.encoder_config import Architecture, TimmEncoder
from model.network.encoders.errors import BackboneError, looking_up, near
from model.network.encoders.feature_tokens import count_tokens
from model.network.encoders.measure import multiplications
from model.network.encoders.torchvision_operators import declare_operators


def _timm() -> ModuleType:
    if find_spec("timm") is None:
        raise BackboneError("a backbone of timm needs the extra 'backbones': pip install 'trunkline[backbones]'")
    declare_operators()
    import timm

    return timm


def _source(encoder: TimmEncoder) -> str:
    """The backbone as timm wants to hear of it."""
    timm, name = _timm(), encoder.name
    if Path(name).is_dir():
        return f"local-dir:{name}"
    if name.startswith(("hf-hub:", "local-dir:")):
        return name
    if "/" in name:
        return f"hf-hub:{name}"
    if not timm.is_model(name):
        raise BackboneError(f"{name}: timm has no such model{near(name, timm.list_models())}")
    tags = timm.list_pretrained(name.partition(".")[0])
    if encoder.pretrained and not tags:
        raise BackboneError(f"{name}: timm has no trained weights for it; set pretrained: false, or name a folder")
    if "." in name and name not in tags:
        raise BackboneError(f"{name}: timm has no such weights; there are {', '.join(tags)}")
    return name


def look_up(
    encoder: TimmEncoder, modality: ImageModality, smaller: float | None
) -> tuple[Architecture, dict[str, Any]]:
    """The backbone's architecture, and the fields of the modality that follow from it.

    `smaller`: a share of the picture's size that it must take as well. Raises BackboneError.
    """
    source = _source(encoder)
    from timm.data.config import resolve_data_config
    from timm.models import resolve_model_input_args

    given = modality.model_fields_set
    with looking_up(encoder.name, "timm"):
        call = resolve_model_input_args(source, **encoder.arguments)
        data = resolve_data_config(pretrained_cfg=call["pretrained_cfg"])  # type: ignore[no-untyped-call]
        _, height, width = data["input_size"]
        size = (modality.height if "height" in given else height, modality.width if "width" in given else width)
        if size != (height, width):
            call = resolve_model_input_args(source, {"input_size": (3, *size)}, **encoder.arguments)
    settings = {
        "model": call["model_name"],
        "arguments": {name: value for name, value in call.items() if name not in _NOT_ARCHITECTURE},
    }
    with looking_up(encoder.name, "timm"), torch.device("meta"):
        settings = json.loads(json.dumps(settings))
        backbone: Any = build(settings).eval()
    tokens, cost = _measure(encoder.name, backbone, size, (height, width))
    if smaller is not None:
        small = (round(size[0] * smaller), round(size[1] * smaller))
        try:
            _measure(encoder.name, backbone, small, (height, width))
        except BackboneError as error:
            raise BackboneError(f"{error}; set training.small_image_epochs to 0") from None
    found = {"height": size[0], "width": size[1], "mean": tuple(data["mean"]), "std": tuple(data["std"])}
    architecture = Architecture(settings=settings, width=backbone.num_features, tokens=tokens, cost=cost)
    return architecture, {name: value for name, value in found.items() if name not in given}


# What timm says of trained weights and of their classifier.
_NOT_ARCHITECTURE = ("model_name", "num_classes", "pretrained_cfg", "pretrained_model_args")


def _measure(name: str, backbone: Any, size: tuple[int, int], own: tuple[int, int]) -> tuple[int, float]:
    """How many tokens a picture of `size` gives, and the multiplications that it takes."""
    try:
        features, cost = multiplications(lambda: backbone.forward_features(torch.zeros(1, 3, *size, device="meta")))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it cannot be divided"
        raise BackboneError(
            f"{name}: does not take pictures of {size[0]} × {size[1]} pixels ({reason}); "
            f"it was made for {own[0]} × {own[1]}"
        ) from None
    count = count_tokens(features, backbone.num_features)
    if not count:
        raise BackboneError(f"{name}: gives no feature map and no sequence of tokens; choose another backbone")
    return count, cost


def build(settings: dict[str, Any]) -> nn.Module:
    """The backbone with fresh weights and without its classifier. Looks nothing up."""
    timm = _timm()
    backbone: nn.Module = timm.create_model(settings["model"], pretrained=False, num_classes=0, **settings["arguments"])
    return backbone


def trained(encoder: TimmEncoder, settings: dict[str, Any]) -> dict[str, Tensor]:
    """The trained weights of the named backbone, brought to the architecture's picture size. Raises BackboneError."""
    source = _source(encoder)
    with looking_up(encoder.name, "timm"):
        backbone = _timm().create_model(source, pretrained=True, num_classes=0, **settings["arguments"])
    weights: dict[str, Tensor] = backbone.state_dict()
    return weights


def group(backbone: Any, *, coarse: bool) -> dict[str, int]:
    """Parameter -> its layer, or its stage where `coarse`, as timm counts them; nothing where it does not."""
    if not hasattr(backbone, "group_matcher"):
        return {}
    from timm.models import group_parameters

    groups: dict[str, int] = group_parameters(backbone, backbone.group_matcher(coarse=coarse), reverse=True)
    return groups
