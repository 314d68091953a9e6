"""What a forward costs, counted from the config: enough to weigh one part of it against another."""

from __future__ import annotations

from model.config import Config, ImageModality, NetworkConfig, TextModality
from model.encoder_config import Architecture, BertEncoder, ConvEncoder, NamedEncoder


def item_tokens(config: Config) -> float:
    """What an item costs besides its texts, in tokens of a text: the arithmetic of one over that of the other.

    Pictures, and what runs once an item. 0 for a config without texts.
    """
    texts = [modality for modality in config.modalities.values() if isinstance(modality, TextModality)]
    if not texts:
        return 0.0
    network, tasks = config.network, len(config.tasks)
    d, t = network.width, network.task_width
    pictures = sum(_picture(m, network) for m in config.modalities.values() if isinstance(m, ImageModality))
    once = len(config.modalities) * (d * d + d * t) + d * d * (1 + 4 * network.trunk_layers) + tasks * (d * t + t * t)
    return (pictures + once) / (sum(_token(text, network) for text in texts) / len(texts))


def _token(modality: TextModality, network: NetworkConfig) -> float:
    """Multiplications of one token of a text of half the length that it may have."""
    encoder = modality.encoder
    if not isinstance(encoder, BertEncoder):
        known = _recorded(encoder)
        return known.cost + _shared(known.width, modality.max_tokens // 2, network)
    layer = 4 * encoder.width**2 + 2 * encoder.width * encoder.feedforward + modality.max_tokens * encoder.width
    return encoder.layers * layer + _shared(encoder.width, modality.max_tokens // 2, network)


def _picture(modality: ImageModality, network: NetworkConfig) -> float:
    """Multiplications of one picture."""
    encoder = modality.encoder
    if not isinstance(encoder, ConvEncoder):
        known = _recorded(encoder)
        return known.cost + known.tokens * _shared(known.width, known.tokens, network)
    kernel = 7 if encoder.stem_stride == 4 else 3
    height, width = -(-modality.height // encoder.stem_stride), -(-modality.width // encoder.stem_stride)
    before = encoder.widths[0]
    total = float(kernel**2 * 3 * before * height * width)
    for stage, (channels, depth) in enumerate(zip(encoder.widths, encoder.depths, strict=True)):
        if stage:
            height, width = -(-height // 2), -(-width // 2)
        cells = height * width
        shortcut = before * channels if before != channels else 0
        total += cells * (9 * before * channels + 9 * channels**2 + shortcut + (depth - 1) * 18 * channels**2)
        before = channels
    tokens = height * width
    return total + tokens * _shared(before, tokens, network)


def _recorded(encoder: NamedEncoder) -> Architecture:
    if encoder.architecture is None:
        raise ValueError(f"{encoder.name}: what it costs is not recorded")
    return encoder.architecture


def _shared(width: int, tokens: int, network: NetworkConfig) -> float:
    """Multiplications that one of `tokens` tokens costs from the encoder's end to the pooled vector."""
    d = network.width
    return width * d + network.shared_blocks * (8 * d * d + 2 * tokens * d) + 2 * d * d
