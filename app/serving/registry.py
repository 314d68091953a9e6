"""The bundles that are served, by name, each with the runtime that runs it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import UnknownModel
from app.serving.runtime import MakeRuntime, Runtime, warm_up
from model.bundle import Bundle, BundleError, load_bundle
from model.golden import check_golden


@dataclass(frozen=True)
class Served:
    """A bundle that passed its golden cases on the runtime beside it."""

    bundle: Bundle
    runtime: Runtime


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


def load_served(path: Path, make_runtime: MakeRuntime, batch_sizes: Sequence[int]) -> Served:
    """Read a bundle, build its network, check its golden cases, warm every batch size.

    Raises BundleError, and RuntimeUnavailable when the device is not there.
    """
    bundle = load_bundle(path)
    runtime = make_runtime(bundle)
    check_golden(bundle, runtime)
    warm_up(runtime, bundle.config, batch_sizes)
    return Served(bundle, runtime)
