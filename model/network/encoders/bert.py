"""The text transformer: a BERT of the `transformers` library, trained from scratch."""

from __future__ import annotations

from torch import Tensor
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel

from model.config import TextModality
from model.encoder_config import BertEncoder
from model.network.encoders.base import Encoder
from model.preprocess import PAD_ID


class BertTextEncoder(Encoder):
    """Token ids int64 [B, L] -> tokens [B, L, width]; PAD_ID marks padding.

    Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019.
    """

    def __init__(self, modality: TextModality, encoder: BertEncoder, vocab_size: int) -> None:
        super().__init__()
        self.width = encoder.width
        config = BertConfig(
            vocab_size=vocab_size,
            hidden_size=encoder.width,
            num_hidden_layers=encoder.layers,
            num_attention_heads=encoder.heads,
            intermediate_size=encoder.feedforward,
            hidden_dropout_prob=encoder.dropout,
            attention_probs_dropout_prob=encoder.dropout,
            max_position_embeddings=modality.max_tokens,
            type_vocab_size=1,
            pad_token_id=PAD_ID,
            attn_implementation="sdpa",  # type: ignore[call-arg]  # the base class takes it
        )
        self.bert = BertModel(config, add_pooling_layer=False)

    def readable(self, inputs: Tensor, here: Tensor) -> Tensor:
        """A known token throughout, where there may be ids outside the vocabulary."""
        return inputs.masked_fill(~here[:, None], PAD_ID + 1)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode token ids; the mask is False at padding."""
        mask = inputs != PAD_ID  # (B, L)
        # Past BertModel.forward, which looks into the mask to see whether it can do without: that waits for the device.
        attend = mask[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
        hidden: Tensor = self.bert.embeddings(input_ids=inputs)
        hidden = self.bert.encoder(hidden, attention_mask=attend).last_hidden_state
        return hidden, mask
