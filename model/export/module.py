"""A bundle's network with its calibration inside, as one graph without data-dependent control flow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.bundle import Bundle
from model.calibration import answer_size, has_classes, members_of, pattern_key, patterns_of
from model.network.heads import activate, output_size
from model.network.multi_model import LEAST_PROBABILITY, entropy_range
from model.predictor import build_network


class CalibratedNetwork(nn.Module):
    """What `Predictor` computes, from tensors to tensors, so that it can be traced.

    Every operation depends on shapes alone, so that one traced or captured graph fits every batch of a shape. The
    members of the mix are computed side by side, all tasks in one row: for small batches, a runtime's time goes by the
    number of operations rather than by their size.
    """

    rows: Tensor
    bits: Tensor
    temperatures: Tensor
    beta: Tensor
    levels: Tensor
    slopes: Tensor
    of_output: Tensor
    of_answer: Tensor
    belongs: Tensor
    tempered: Tensor

    def __init__(self, bundle: Bundle) -> None:
        """Build the network on the CPU, in evaluation mode. Raises BundleError when the weights do not fit."""
        super().__init__()
        self.network = build_network(bundle)
        self.tasks = dict(bundle.config.tasks)
        patterns = patterns_of(bundle.config)
        members = members_of(bundle.config)
        names = list(bundle.config.modalities)
        # Where each pattern stands in the tables, by its bits. A row with nothing in it gets any pattern's numbers.
        rows = torch.zeros(1 << len(names), dtype=torch.int64)
        for row, pattern in enumerate(patterns):
            rows[sum(1 << names.index(name) for name in pattern)] = row
        entries = [
            [bundle.calibration.patterns[pattern_key(pattern)][task] for pattern in patterns] for task in self.tasks
        ]
        kinds = [task.kind for task in self.tasks.values()]
        temperatures = [
            [[1.0 if kind == "regression" else entry.temperatures.get(m, 1.0) for m in members] for entry in task]
            for kind, task in zip(kinds, entries, strict=True)
        ]
        beta = [[[entry.beta.get(m, 0.0) for m in members] for entry in task] for task in entries]
        levels = [[entry.mix_temperature[0] for entry in task] for task in entries]
        slopes = [[entry.mix_temperature[1] for entry in task] for task in entries]
        ranges = torch.tensor([entropy_range(answer_size(task)) for task in self.tasks.values()])
        self.sizes = [output_size(task) for task in self.tasks.values()]
        self.counts = [answer_size(task) for task in self.tasks.values()]
        numbers = torch.arange(len(self.tasks))
        self.register_buffer("rows", rows)  # [2^M]
        self.register_buffer("bits", 1 << torch.arange(len(names)))  # [M]
        self.register_buffer("temperatures", torch.tensor(temperatures).permute(1, 2, 0).contiguous())
        self.register_buffer("beta", torch.tensor(beta).permute(1, 2, 0).contiguous())  # both [patterns, members, K]
        self.tempers = any(any(entry.mix_temperature) for task in entries for entry in task)
        self.register_buffer("levels", torch.tensor(levels).T.contiguous())
        self.register_buffer("slopes", (torch.tensor(slopes).T / ranges).contiguous())  # both [patterns, K]
        # Which task each column belongs to, of raw outputs and of answers.
        self.register_buffer("of_output", numbers.repeat_interleave(torch.tensor(self.sizes)))  # [Σ size]
        self.register_buffer("of_answer", numbers.repeat_interleave(torch.tensor(self.counts)))  # [Σ C]
        self.register_buffer("belongs", nn.functional.one_hot(self.of_answer).float())  # [Σ C, K]
        self.register_buffer("tempered", torch.tensor([has_classes(task) for task in self.tasks.values()]))  # [K]
        self.eval()

    def forward(
        self, inputs: Sequence[Tensor | None], present: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Give each task's calibrated answers float32 [B, C], in the order of the config, then α [B, M].

        Where the network has familiarity, then the inputs' distances [B, M].

        inputs: one tensor a modality, in the order of the config, as `preprocess.Batch` describes them, or None for one
        that no row has; present: bool [B, M]. A row of `inputs` may hold anything where `present` is False. A row that
        has no modality at all is answered with NaN.

        `rows`: int64 [B], the row of `inputs`, which are N <= B then, that each answer is to; the first N are 0 … N-1.
        The others answer as if a row had less than it has: encoders run once for all of its answers.
        """
        named = {name: v for name, v in zip(self.network.modalities, inputs, strict=True) if v is not None}
        familiarity = self.network.familiarity
        if rows is None:
            encoded = whole = self.network.encode_densely(named, present)
        else:
            # A lookup, not a slice: what is traced must not depend on which of the two sizes is larger.
            count = next(iter(named.values())).shape[0]
            first = present.index_select(0, torch.arange(count, device=present.device))
            whole = self.network.encode_densely(named, first)
            encoded = whole.gathered(rows, present)
        fused, alpha = self.network.decode(encoded)
        raw = [torch.cat(list(fused.values()), dim=1)]
        for column, values in enumerate(inputs):
            # A modality that no row has gives no answers of its own, and has no weight in any row.
            own = self.network.modalities[column]
            raw.append(
                torch.zeros_like(raw[0])
                if values is None
                else self.network.single_modality.side_by_side(own, encoded.pooled[:, column])
            )
        row = self.rows[(present.long() * self.bits).sum(1)]  # (B,)
        some = present.any(1, keepdim=True)  # (B, 1)
        scaled = torch.stack(raw, dim=1) / self.temperatures[row].index_select(
            2, self.of_output
        )  # (B, members, Σ size)
        parts = zip(self.tasks.values(), torch.split(scaled, self.sizes, dim=2), strict=True)
        answers = torch.cat([activate(task, part) for task, part in parts], dim=2)  # (B, members, Σ C)
        weight = self.beta[row].index_select(2, self.of_answer)
        # A member without weight may hold anything, even a NaN; 0 · NaN would let it through.
        mixed = (weight * answers).masked_fill(weight <= 0, 0.0).sum(1)
        if self.tempers:
            mixed = self._temper(mixed, row)
        mixed = mixed.masked_fill(~some, torch.nan)
        found = (*torch.split(mixed, self.counts, dim=1), alpha.masked_fill(~some, torch.nan))
        if familiarity is None:
            return found
        # Of the inputs, not of the answers: the tokens, which most fusions do not read, are not gathered for it.
        distance = familiarity(whole)
        return *found, distance if rows is None else distance.index_select(0, rows).masked_fill(~present, 0.0)

    def _temper(self, answers: Tensor, row: Tensor) -> Tensor:
        """`multi_model.temper` for all tasks that have classes at once. answers: [B, Σ C]; row: int64 [B]."""
        columns = self.tempered.index_select(0, self.of_answer)
        # What is no probability must not reach the sums below: a 0 there does not keep an infinity out.
        shares = torch.where(columns, answers, 1.0)
        logs = shares.clamp(min=LEAST_PROBABILITY).log()
        entropy = -(shares * logs) @ self.belongs  # (B, K)
        powers = (self.levels[row] + self.slopes[row] * entropy).neg().exp()
        powered = (logs * powers.index_select(1, self.of_answer)).exp()
        sums = (powered @ self.belongs).index_select(1, self.of_answer)
        return torch.where(columns, powered / sums, answers)
