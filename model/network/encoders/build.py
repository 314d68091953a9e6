"""The encoder that a modality's config asks for."""

from __future__ import annotations

from model.config import ImageModality, Modality
from model.network.encoders.base import Encoder
from model.network.encoders.bert import BertTextEncoder
from model.network.encoders.conv import ConvImageEncoder


def build_encoder(modality: Modality, vocab_size: int | None = None) -> Encoder:
    """Build a modality's encoder with fresh weights; a text modality needs its tokenizer's `vocab_size`."""
    if isinstance(modality, ImageModality):
        return ConvImageEncoder(modality)
    if vocab_size is None:
        raise ValueError("a text encoder needs the vocabulary's size")
    return BertTextEncoder(modality, vocab_size)
