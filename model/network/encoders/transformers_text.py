"""Text backbones of `transformers`."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from model.config import TextModality
from model.encoder_config import Architecture, TransformersEncoder
from model.network.encoders import transformers_library
from model.network.encoders.errors import BackboneError, looking_up
from model.network.encoders.layers import number_layers
from model.network.encoders.measure import multiplications
from model.network.encoders.named import BackboneEncoder, recorded
from model.preprocess import TextTokenizer, some_token


class TransformersTextEncoder(BackboneEncoder):
    """Token ids int64 [B, L] -> tokens [B, L, width]; the modality's `pad_id` marks padding."""

    def __init__(self, modality: TextModality, encoder: TransformersEncoder, vocab_size: int) -> None:
        settings = recorded(encoder).settings
        if modality.tokenizer == "learned":
            settings = settings | {"vocab_size": vocab_size, "pad_token_id": modality.pad_id}
        super().__init__(encoder, transformers_library.build(settings))
        self._source = encoder
        self._pad_id, self._some_token = modality.pad_id, some_token(modality)
        # A backbone that knows no padding reads any token there, which the mask hides.
        self._knows_padding = modality.pad_id < settings["vocab_size"]

    def readable(self, inputs: Tensor, here: Tensor) -> Tensor:
        """A known token throughout, where there may be ids outside the vocabulary."""
        return inputs.masked_fill(~here[:, None], self._some_token)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode token ids; the mask is False at padding."""
        mask = inputs != self._pad_id  # (B, L)
        if not self._knows_padding:
            inputs = inputs.masked_fill(~mask, self._some_token)
        return self.backbone(input_ids=inputs, attention_mask=mask.long()).last_hidden_state, mask

    def layers(self) -> dict[str, int]:
        """See BackboneEncoder."""
        return number_layers(self.backbone)

    stages = layers

    def pretrained_weights(self) -> dict[str, Tensor]:
        """See BackboneEncoder."""
        return transformers_library.trained(self._source, recorded(self._source).settings)


def look_up(encoder: TransformersEncoder, modality: TextModality) -> tuple[Architecture, dict[str, Any]]:
    """The backbone's architecture, and the fields of the modality that follow from it. Raises BackboneError."""
    config = transformers_library.find_config(encoder, "text")
    found: dict[str, Any] = {"tokenizer": "learned", "pad_id": 0}
    longest = None
    if encoder.pretrained or encoder.type is None:
        tokenizer = _tokenizer(encoder)
        longest = tokenizer.model_max_length
        # Without a token for padding, an id behind all others marks it.
        pad = config.vocab_size if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        found = {"tokenizer": "backbone", "pad_id": pad}
        if len(tokenizer) > config.vocab_size:
            raise BackboneError(
                f"{encoder.name}: its tokenizer has {len(tokenizer)} tokens, its network knows {config.vocab_size}"
            )
    else:
        config.pad_token_id = 0
        config.vocab_size = modality.vocab_size
    settings = transformers_library.settings_of(config)
    with torch.device("meta"):
        backbone: Any = transformers_library.build(settings).eval()
    if backbone.main_input_name != "input_ids":
        raise BackboneError(f"{encoder.name}: a {config.model_type} reads no texts")
    longest = min(
        (limit for limit in (longest, _positions(backbone)) if limit is not None), default=modality.max_tokens
    )
    if modality.max_tokens > longest:
        raise BackboneError(f"max_tokens: {encoder.name} reads at most {longest} tokens, not {modality.max_tokens}")
    half = max(1, modality.max_tokens // 2)
    ids = torch.zeros(1, half, dtype=torch.int64, device="meta")
    with looking_up(encoder.name, "transformers"):
        output, cost = multiplications(lambda: _read(backbone, ids))
    hidden = getattr(output, "last_hidden_state", None)
    if not isinstance(hidden, Tensor) or hidden.shape[:2] != ids.shape:
        raise BackboneError(f"{encoder.name}: gives no token for each of the text's; choose another backbone")
    return Architecture(settings=settings, width=hidden.shape[2], cost=cost / half), found


def _read(backbone: Any, ids: Tensor) -> Any:
    try:
        return backbone(input_ids=ids, attention_mask=torch.ones_like(ids))
    except RuntimeError:
        # Some look at the mask's values, which it does not have on the meta device.
        return backbone(input_ids=ids)


def _positions(backbone: nn.Module) -> int | None:
    """How many tokens the backbone has positions for; None where they are not counted by a table."""
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # Those after RoBERTa count from behind the padding's number.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def _tokenizer(encoder: TransformersEncoder) -> Any:
    from transformers import AutoTokenizer

    with looking_up(encoder.name, "transformers"):
        tokenizer = AutoTokenizer.from_pretrained(encoder.name, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise BackboneError(f"{encoder.name}: its tokenizer has no tokenizer.json, which a bundle needs")
    return tokenizer


def backbone_tokenizer(modality: TextModality) -> TextTokenizer:
    """The tokenizer of a modality's backbone, from a folder or, through the library's cache, from the hub."""
    encoder = modality.encoder
    assert isinstance(encoder, TransformersEncoder)
    tokenizer = _tokenizer(encoder)
    own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    own.enable_truncation(modality.max_tokens, direction=tokenizer.truncation_side)
    return TextTokenizer(own, modality)
