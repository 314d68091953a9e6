"""Encoders: what turns one modality's input into tokens. Only this folder knows which kinds of modality there are."""

from model.network.encoders.base import Encoder
from model.network.encoders.build import build_encoder

__all__ = ["Encoder", "build_encoder"]
