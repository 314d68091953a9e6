"""The whole network: encoders, shared representation, cross-modal blocks, fusion, trunk, relation, heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.config import Config
from model.network.cross_modal import CrossModal
from model.network.encoders import Encoder, build_encoder
from model.network.familiarity import Familiarity
from model.network.fusion import Encoded, build_fusion
from model.network.heads import Heads
from model.network.multi_model import SingleModalityNetworks
from model.network.shared_network import SharedNetwork
from model.network.shared_representation import SharedRepresentation
from model.network.task_relation import TaskRelation


@dataclass
class NetworkOutput:
    """Raw outputs of a batch.

    `fused`: task -> [B, size]; `single`: modality -> task -> [B, size], for the modalities that any sample has;
    `alpha` [B, M]; `distance` [B, M] as `Familiarity` gives it, None where the network has none.
    """

    fused: dict[str, Tensor]
    single: dict[str, dict[str, Tensor]]
    alpha: Tensor
    distance: Tensor | None = None


class Network(nn.Module):
    """A multi-modal, multi-task network made from a config whose task labels are filled in."""

    def __init__(self, config: Config, vocab_sizes: Mapping[str, int], relation: Tensor | None = None) -> None:
        """Build with fresh weights.

        `vocab_sizes`: the tokenizer's size of each text modality; `relation`: T [K, K], none when left out.
        """
        super().__init__()
        self.modalities = list(config.modalities)
        self.tasks = list(config.tasks)
        sizes = config.network
        self.width = sizes.width
        encoders = {
            name: build_encoder(modality, vocab_sizes.get(name)) for name, modality in config.modalities.items()
        }
        self.encoders = nn.ModuleList(encoders.values())
        widths = {name: encoder.width for name, encoder in encoders.items()}
        self.shared_representation = SharedRepresentation(widths, sizes.width)
        self.cross_modal = CrossModal(sizes.width, sizes.heads, sizes.shared_blocks, sizes.dropout)
        self.fusion = build_fusion(sizes, len(self.modalities))
        self.shared_network = SharedNetwork(sizes.width, sizes.trunk_layers, sizes.dropout)
        if relation is None:
            relation = torch.zeros(len(self.tasks), len(self.tasks))
        self.task_relation = TaskRelation(relation, sizes.width, sizes.task_width)
        self.heads = Heads(config.tasks, sizes.task_width)
        self.single_modality = SingleModalityNetworks(self.modalities, config.tasks, sizes.width, sizes.task_width)
        self.familiarity: Familiarity | None = None  # fitted once the network is trained

    def encode(self, inputs: Mapping[str, Tensor], present: Tensor, known: Encoded | None = None) -> Encoded:
        """Run each modality's encoder on the samples that have it: the way of training.

        inputs: modality -> [B, …] as `preprocess.Batch` describes; present: bool [B, M]. What `inputs` holds in the
        row of a missing modality is never read, and no such row enters a batch norm's statistics. `known`: the same
        samples encoded before, from which the modalities are taken that `inputs` leaves out.
        """
        pooled, tokens, masks = [], [], []
        for column, name in enumerate(self.modalities):
            if known is not None and name not in inputs:
                pooled.append(known.pooled[:, column])
                tokens.append(known.tokens[column])
                masks.append(known.masks[column])
                continue
            here = present[:, column]
            rows = None if bool(here.all()) else here.nonzero().squeeze(1)
            if rows is not None and not len(rows):
                rows = None
                own, summary, mask = self._nothing(present)
            else:
                values = inputs[name] if rows is None else inputs[name][rows]
                own, summary, mask = self._encode_one(column, values)
            pooled.append(_spread(summary, rows, len(present)))
            tokens.append(_spread(own, rows, len(present)))
            masks.append(_spread(mask, rows, len(present)))
        return Encoded(torch.stack([x.to(pooled[0].dtype) for x in pooled], dim=1), tokens, masks, present)

    def encode_densely(self, inputs: Mapping[str, Tensor], present: Tensor) -> Encoded:
        """Give what `encode` gives, by operations that depend on shapes alone: the way of graphs.

        Every row is encoded and the missing ones are hidden, so that nothing waits for a device and one traced or
        captured graph fits every batch of a shape. A row may hold anything where `present` is False. A modality that
        `inputs` leaves out is missing throughout, and is not encoded.
        """
        pooled, tokens, masks = [], [], []
        for column, name in enumerate(self.modalities):
            here = present[:, column]
            if name not in inputs:
                own, summary, mask = self._nothing(present)
            else:
                encoder = self.encoders[column]
                assert isinstance(encoder, Encoder)
                own, summary, mask = self._encode_one(column, encoder.readable(inputs[name], here))
            pooled.append(summary.masked_fill(~here[:, None], 0.0))
            tokens.append(own.masked_fill(~here[:, None, None], 0.0))
            masks.append(mask & here[:, None])
        return Encoded(torch.stack([x.to(pooled[0].dtype) for x in pooled], dim=1), tokens, masks, present)

    def _encode_one(self, column: int, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One modality's tokens [B, N, d], their summary x_m [B, d] and the tokens' mask, bool [B, N]."""
        own, mask = self.encoders[column](values)
        own = self.shared_representation(self.modalities[column], own)
        own, summary = self.cross_modal(own, mask)
        if mask is None:
            mask = torch.ones(own.shape[:2], dtype=torch.bool, device=own.device)
        return own, summary, mask

    def _nothing(self, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `_encode_one` would give for a modality that no sample has: no token at all."""
        some, size = self.fusion.stand_in, len(present)
        return some.new_zeros(size, 0, self.width), some.new_zeros(size, self.width), present.new_zeros(size, 0)

    def fold(self, dtype: torch.dtype = torch.float32) -> None:
        """Rewrite the network, in place, for evaluation alone: norms merged into convolutions, weights in `dtype`.

        Answers stay fp32, and so do pixel statistics and T, which are buffers.
        """
        for encoder in self.encoders:
            assert isinstance(encoder, Encoder)
            encoder.fold()
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)

    def decode(self, encoded: Encoded, tasks: Sequence[str] | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Fuse, run the trunk and the heads of the named tasks: task -> [B, size], and α [B, M].

        `encoded.present` may be narrowed between the two calls: the encoders run once for several patterns.
        """
        h, alpha = self.share(encoded)
        return self.answer(h, tasks), alpha

    def share(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """Fuse and run the trunk: h [B, d], all that the tasks' answers are made from, and α [B, M]."""
        z, alpha = self.fusion(encoded)
        return self.shared_network(z), alpha

    def answer(self, h: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The answers of the named tasks from h [B, d]: task -> [B, size]."""
        names = self.tasks if tasks is None else list(tasks)
        t = self.task_relation(h, None if tasks is None else [self.heads.index[name] for name in names])
        outputs: dict[str, Tensor] = self.heads(t, names)
        return outputs

    def alone(self, encoded: Encoded, tasks: Sequence[str] | None = None) -> dict[str, dict[str, Tensor]]:
        """Each modality's own answers: modality -> task -> [B, size]; rows that lack it hold nothing of use."""
        names = self.tasks if tasks is None else list(tasks)
        return {
            modality: self.single_modality(modality, encoded.pooled[:, column], names)
            for column, modality in enumerate(self.modalities)
            if encoded.tokens[column].shape[1]
        }

    def forward(
        self, inputs: Mapping[str, Tensor], present: Tensor, tasks: Sequence[str] | None = None
    ) -> NetworkOutput:
        """Answer a batch; see `encode` for the shapes and `NetworkOutput` for the result."""
        return self.read(self.encode(inputs, present), tasks)

    def read(self, encoded: Encoded, tasks: Sequence[str] | None = None) -> NetworkOutput:
        """All that the named tasks' answers are mixed from, once the encoders have run."""
        fused, alpha = self.decode(encoded, tasks)
        distance = None if self.familiarity is None else self.familiarity(encoded)
        return NetworkOutput(fused, self.alone(encoded, tasks), alpha, distance)


def _spread(values: Tensor, rows: Tensor | None, size: int) -> Tensor:
    """Put the values of some rows at their place among `size` rows, zeros elsewhere."""
    if rows is None:
        return values
    return values.new_zeros(size, *values.shape[1:]).index_copy(0, rows, values)
