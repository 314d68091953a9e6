"""From prepared items to calibrated answers: the network of a bundle on a device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.bundle import MANIFEST, WEIGHTS, Bundle, BundleError
from model.calibration import members_of, pattern_key, patterns_of
from model.config import ConfigError
from model.familiarity import groups_in
from model.network import Network
from model.network.familiarity import Familiarity
from model.network.multi_model import FUSED, mix, temper
from model.outputs import Outputs
from model.preprocess import Batch, Item, Narrowed, collate


class Predictor:
    """One copy of a bundle's network on one device; not to be called from two threads at once."""

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        """Build the network and load its weights onto `device`, as torch names it."""
        self.config = bundle.config
        self.device = torch.device(device)
        if self.device.type == "cuda":
            # Convolutions would otherwise round their inputs to 10 bits, and answers would differ from the CPU's.
            torch.backends.cudnn.allow_tf32 = False
        self.network = build_network(bundle).eval()
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it
        patterns = patterns_of(self.config)
        members = members_of(self.config)
        names = list(self.config.modalities)
        # Where each pattern of present modalities stands in the tables below, by its bits.
        self._row_of = np.full(1 << len(names), -1, dtype=np.int64)
        for row, pattern in enumerate(patterns):
            self._row_of[sum(1 << names.index(name) for name in pattern)] = row
        self._temperatures: dict[str, Tensor] = {}
        self._beta: dict[str, Tensor] = {}
        self._mix_temperatures: dict[str, Tensor] = {}
        for task in self.config.tasks:
            entries = [bundle.calibration.patterns[pattern_key(pattern)][task] for pattern in patterns]
            self._temperatures[task] = self._table([[e.temperatures.get(m, 1.0) for m in members] for e in entries])
            self._beta[task] = self._table([[e.beta.get(m, 0.0) for m in members] for e in entries])
            if any(any(entry.mix_temperature) for entry in entries):
                self._mix_temperatures[task] = self._table([list(e.mix_temperature) for e in entries])
        self._relation = bundle.relation_weights()

    def _table(self, rows: list[list[float]]) -> Tensor:
        return torch.tensor(rows, dtype=torch.float32, device=self.device)

    def __call__(
        self, items: Sequence[Item], tasks: Sequence[str] | None = None, narrowed: Narrowed | None = None
    ) -> Outputs:
        """Answer prepared items; `tasks` names the heads to run, all when left out.

        `narrowed`: further answers to the items, behind their own. Raises ValueError for an item without any modality,
        and for a further answer without any.
        """
        return self.run(collate(items, self.config), tasks, narrowed)

    @torch.inference_mode()
    def run(self, batch: Batch, tasks: Sequence[str] | None = None, narrowed: Narrowed | None = None) -> Outputs:
        """Answer a collated batch; see `__call__`."""
        names = list(self.config.tasks) if tasks is None else list(tasks)
        of, has = (None, batch.present) if narrowed is None else narrowed.behind(batch.present)
        bits = has @ (1 << np.arange(has.shape[1]))
        rows = self._row_of[bits]
        if (rows < 0).any():
            raise ValueError("an item has no modality at all; there is nothing to predict from")
        pattern = torch.from_numpy(rows).to(self.device)
        inputs = {name: torch.from_numpy(values).to(self.device) for name, values in batch.inputs.items()}
        encoded = self.network.encode(inputs, torch.from_numpy(batch.present).to(self.device))
        if of is not None:
            encoded = encoded.gathered(torch.from_numpy(of).to(self.device), torch.from_numpy(has).to(self.device))
        output = self.network.read(encoded, names)
        # A modality that no sample of the batch has gave no answers of its own.
        members = [(c, m) for c, m in enumerate(members_of(self.config)) if m == FUSED or m in output.single]
        columns = [column for column, _ in members]
        probabilities = {}
        for name in names:
            raw = [output.fused[name] if m == FUSED else output.single[m][name] for _, m in members]
            temperatures = self._temperatures[name][pattern][:, columns]
            beta = self._beta[name][pattern][:, columns]
            answer = mix(self.config.tasks[name], raw, temperatures, beta)
            if name in self._mix_temperatures:
                answer = temper(answer, *torch.split(self._mix_temperatures[name][pattern], 1, dim=1))
            probabilities[name] = answer.float().cpu().numpy()
        return Outputs(
            probabilities,
            output.alpha.float().cpu().numpy(),
            {name: self._relation[name] for name in names},
            None if output.distance is None else output.distance.float().cpu().numpy(),
        )


def build_network(bundle: Bundle) -> Network:
    """Build a bundle's network on the CPU and load its weights. Raises BundleError when they do not fit."""
    try:
        network = Network(bundle.config, bundle.vocab_sizes(), torch.tensor(bundle.relation))
    except ConfigError as error:  # such as a backbone whose library is not installed
        raise BundleError(f"{bundle.path / MANIFEST}: {error}") from None
    groups = groups_in({name: values.shape for name, values in bundle.weights.items()})
    if groups:
        network.familiarity = Familiarity(groups, network.width)
    try:
        network.load_state_dict({name: torch.from_numpy(values) for name, values in bundle.weights.items()})
    except RuntimeError as error:
        raise BundleError(f"{bundle.path / WEIGHTS}: does not fit the network of the config: {error}") from None
    return network


def weights_of(network: Network) -> dict[str, NDArray[np.generic]]:
    """A network's weights as a bundle holds them."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in network.state_dict().items()}
