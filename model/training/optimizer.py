"""Which parameters are trained, by what, and how fast each of them: Muon for hidden matrices, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.config import TrainingConfig
from model.network.encoders import Encoder
from model.network.heads import Heads

# How long Muon's steps are beside AdamW's: of 1 and 2, what taught more in the first epochs.
_MUON_PACE = 2.0


class Optimizer:
    """Steps over what is not frozen: `training.optimizer` for matrices, AdamW for everything else.

    Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024) takes the weights of linear
    and convolutional layers, a filter bank as one matrix with a row a filter. Its steps are scaled to AdamW's (Liu et
    al., "Muon is Scalable for LLM Training", 2025), times a constant, so that both share the learning rate. Embeddings,
    heads, biases and norms are AdamW's, and so are backbones that others have trained by it.
    """

    def __init__(self, network: nn.Module, training: TrainingConfig, parts: int = 1) -> None:
        """`parts`: how many threads are to share Muon's work."""
        chosen = matrices(network) if training.optimizer == "muon" else {}
        self._weights = list(chosen.values())
        self._names = list(chosen)
        # In the weights' own memory: what moves one moves the other.
        self._flat = [_rows(weight, weight.detach()) for weight in self._weights]
        self._adamw = torch.optim.AdamW(parameter_groups(network, training, chosen), training.learning_rate, fused=True)
        self._muons = [
            torch.optim.Muon(
                [{"params": share, "pace": _MUON_PACE}],
                training.learning_rate,
                training.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            for share in _divided(self._flat, parts)
            if share
        ]

    def add(self, parameters: Sequence[nn.Parameter], pace: float) -> None:
        """Train these too, without weight decay, at a share `pace` of the learning rate."""
        self._adamw.add_param_group({"params": parameters, "weight_decay": 0.0, "pace": pace})

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._adamw.zero_grad(set_to_none=True)
        for weight, flat in zip(self._weights, self._flat, strict=True):
            weight.grad = flat.grad = None

    def step(self, learning_rate: float) -> None:
        """Move every parameter that has a gradient."""
        for work in self.steps(learning_rate):
            work()

    def steps(self, learning_rate: float) -> list[Callable[[], object]]:
        """The parts of a step, which may be taken at the same time."""
        for weight, flat in zip(self._weights, self._flat, strict=True):
            flat.grad = None if weight.grad is None else _rows(weight, weight.grad)
        for optimizer in (self._adamw, *self._muons):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group.get("pace", 1.0)
        return [self._adamw.step, *(muon.step for muon in self._muons)]

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, however many threads it has."""
        found = {id(flat): state for muon in self._muons for flat, state in muon.state.items()}
        momenta = {
            name: found[id(flat)]["momentum_buffer"]
            for name, flat in zip(self._names, self._flat, strict=True)
            if id(flat) in found
        }
        return {"adamw": self._adamw.state_dict(), "momenta": momenta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._adamw.load_state_dict(state["adamw"])
        of_flat = {id(flat): name for name, flat in zip(self._names, self._flat, strict=True)}
        for muon in self._muons:
            for group in muon.param_groups:
                for flat in group["params"]:
                    if (momentum := state["momenta"].get(of_flat[id(flat)])) is not None:
                        muon.state[flat]["momentum_buffer"] = momentum.to(flat)


def matrices(network: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that Muon is for: those of linear and convolutional layers that begin at random and are no heads."""
    found: dict[str, nn.Parameter] = {}
    left: set[nn.Module] = set()
    for module in network.modules():
        if isinstance(module, Heads) or (isinstance(module, Encoder) and module.paces()):
            left.update(module.modules())
    for prefix, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and module not in left and module.weight.requires_grad:
            found[f"{prefix}.weight"] = module.get_parameter("weight")
    return found


def parameter_groups(network: nn.Module, training: TrainingConfig, without: Iterable[str] = ()) -> list[dict[str, Any]]:
    """One group for each pace, and for what decays and what does not: biases and the scales of normalisation.

    A group's `pace` is its share of the learning rate; encoders say where it is not 1. Frozen parameters are in no
    group, so that the optimizer keeps nothing for them; `without` names others that are in none.
    """
    paces: dict[str, float] = {}
    for prefix, module in network.named_modules():
        if isinstance(module, Encoder):
            paces |= {f"{prefix}.{name}".lstrip("."): pace for name, pace in module.paces().items()}
    left_out = set(without)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and name not in left_out:
            groups.setdefault((paces.get(name, 1.0), parameter.dim() > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": training.weight_decay if decays else 0.0,
            "pace": pace,
            "lr": training.learning_rate * pace,
        }
        for (pace, decays), parameters in groups.items()
    ]


def _rows(weight: Tensor, values: Tensor) -> Tensor:
    """A weight, or its gradient, as a matrix [out, in], whose columns stand as the weight's do in memory."""
    if weight.dim() == 4 and not weight.is_contiguous():
        values = values.permute(0, 2, 3, 1)
    return values.flatten(1)


def _divided(matrices: Sequence[Tensor], parts: int) -> list[list[Tensor]]:
    """The matrices in `parts` shares of about equal work, which goes by their sizes and their shorter sides."""
    shares: list[list[Tensor]] = [[] for _ in range(parts)]
    costs = [0] * parts
    for matrix in sorted(matrices, key=_cost, reverse=True):
        least = costs.index(min(costs))
        shares[least].append(matrix)
        costs[least] += _cost(matrix)
    return shares


def _cost(matrix: Tensor) -> int:
    return matrix.numel() * min(matrix.shape)
