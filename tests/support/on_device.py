"""Whether operations could run on a device without the host: what a graph that is captured once has to hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class StaysOnDevice(TorchDispatchMode):
    """Fails on an operation that reads a tensor which neither was there before nor came of another operation.

    Such a tensor is made of the host's data, as by an index that is a list; a device would wait for its copy.
    """

    def __init__(self, there: Iterable[Tensor]) -> None:
        super().__init__()
        self._known = {id(tensor): tensor for tensor in there}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_flatten((args, kwargs or {}))[0]:
            if isinstance(value, Tensor):
                assert id(value) in self._known, f"{func} reads a tensor of the host"
        result = func(*args, **(kwargs or {}))
        self._known |= {id(value): value for value in tree_flatten(result)[0] if isinstance(value, Tensor)}
        return result
