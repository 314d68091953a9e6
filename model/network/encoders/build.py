"""The encoder that a modality's config asks for."""

from __future__ import annotations

from model.config import ImageModality, Modality
from model.encoder_config import BertEncoder, ConvEncoder, TimmEncoder, TransformersEncoder
from model.network.encoders.base import Encoder
from model.network.encoders.bert import BertTextEncoder
from model.network.encoders.conv import ConvImageEncoder
from model.network.encoders.timm_image import TimmImageEncoder
from model.network.encoders.transformers_image import TransformersImageEncoder
from model.network.encoders.transformers_text import TransformersTextEncoder


def build_encoder(modality: Modality, vocab_size: int | None = None) -> Encoder:
    """Build a modality's encoder with fresh weights; a text modality needs its tokenizer's `vocab_size`.

    Nothing is looked up or downloaded: a backbone must have been resolved. Raises ConfigError where it was not.
    """
    encoder = modality.encoder
    if isinstance(modality, ImageModality):
        if isinstance(encoder, TimmEncoder):
            return TimmImageEncoder(modality, encoder)
        if isinstance(encoder, TransformersEncoder):
            return TransformersImageEncoder(modality, encoder)
        assert isinstance(encoder, ConvEncoder)
        return ConvImageEncoder(modality, encoder)
    if vocab_size is None:
        raise ValueError("a text encoder needs the vocabulary's size")
    if isinstance(encoder, TransformersEncoder):
        return TransformersTextEncoder(modality, encoder, vocab_size)
    assert isinstance(encoder, BertEncoder)
    return BertTextEncoder(modality, encoder, vocab_size)
