"""Encoders: what turns one modality's input into tokens. Only this folder knows which kinds of modality there are."""

from model.network.encoders.torchvision_operators import declare_operators

declare_operators()  # before anything imports transformers, which imports torchvision

from model.network.encoders.base import Encoder  # noqa: E402
from model.network.encoders.build import build_encoder  # noqa: E402
from model.network.encoders.resolve import resolve_encoders  # noqa: E402
from model.network.encoders.transformers_text import backbone_tokenizer  # noqa: E402

__all__ = ["Encoder", "backbone_tokenizer", "build_encoder", "resolve_encoders"]
