"""The bundles that are served, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.errors import UnknownModel
from model.bundle import Bundle, BundleError


@dataclass(frozen=True)
class Served:
    """A bundle that requests may name, and what runs it, wherever that is."""

    bundle: Bundle
    runtime: str  # the library: torch, openvino, onnxruntime
    device: str
    precision: str


class Registry:
    """Served bundles; the first is the default. Empty until the pipeline has loaded them."""

    def __init__(self) -> None:
        """Start empty."""
        self._served: dict[str, Served] = {}

    def names(self) -> list[str]:
        """Names in the order of the settings."""
        return list(self._served)

    def add(self, served: Iterable[Served]) -> None:
        """Serve these bundles too. Raises BundleError when two have one name."""
        for one in served:
            if one.bundle.name in self._served:
                other = self._served[one.bundle.name].bundle.path
                raise BundleError(
                    f"{one.bundle.path}: a bundle named {one.bundle.name!r} is served already, from {other}; "
                    "give one of them another name"
                )
            self._served[one.bundle.name] = one

    def default(self) -> Served:
        """The bundle that answers requests which name none. Raises UnknownModel when none is loaded."""
        return self.get(None)

    def get(self, name: str | None) -> Served:
        """A bundle by name, the default for None. Raises UnknownModel naming those there are."""
        if not self._served:
            raise UnknownModel("No model is loaded.")
        if name is None:
            return next(iter(self._served.values()))
        if name not in self._served:
            raise UnknownModel(f"No model {name[:64]!r}; the models are {', '.join(self._served)}.")
        return self._served[name]
