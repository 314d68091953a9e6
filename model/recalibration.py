"""The command that fits a bundle's calibration anew: on newer rows, or for answers that are to agree from now on."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.terminal import (
    console,
    device_of,
    fail,
    loading_bars,
    need_the_train_extra,
    progress_bars,
    show_faults,
    tell_graphless,
)

if TYPE_CHECKING:
    from model.config import Config


def calibrate_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder; it stays as it is.")],
    data: Annotated[Path, typer.Option(help="Folder or zip with the table and the pictures, or the table itself.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    hierarchy: Annotated[
        list[str] | None,
        typer.Option(help="Tasks whose answers are to agree, finest first, with commas between; once for each chain."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or a torch device.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: one a core.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Where decoded pictures are kept.")] = None,
) -> None:
    """Make a bundle with the same weights and labels, calibrated on the validation rows of a data set.

    Priors, which explanations start from, are those of its training rows. With --hierarchy, which class lies in which
    is learnt from the training rows; without it, the bundle's own hierarchies stay.
    """
    need_the_train_extra()
    import torch

    from model.bundle import BundleError, load_bundle
    from model.config import ConfigError
    from model.data.dataset import load_dataset
    from model.data.faults import DataError
    from model.predictor import build_network
    from model.training.bundling import give_graph, make_bundle
    from model.training.trainer import Trained

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    try:
        loaded = load_bundle(bundle)
        config = with_hierarchies(loaded.config, [chain.split(",") for chain in hierarchy or ()])
        if not out.name or (out.exists() and (not out.is_dir() or out.samefile(bundle))):
            raise BundleError(f"--out {out}: name a folder for the new bundle, other than that of {bundle}")
        chosen = device_of(device)
        with progress_bars() as progress:
            # The labels are there already, so the rows teach nothing but priors and which class lies in which.
            dataset = load_dataset(config, data, cache=cache, progress=loading_bars(progress))
        show_faults(dataset.faults, None)
        network = build_network(loaded).eval()
        network.to(chosen, memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it
        command = f"trunkline calibrate {bundle} --data PATH --out {out}"
        command += "".join(f' --hierarchy "{chain}"' for chain in hierarchy or ())
        calibrated = {
            "command": command,
            "date": datetime.now(UTC).date().isoformat(),
            "fingerprint": dataset.fingerprint,
            "rows": len(dataset.splits["val"]),
        }
        trained = Trained(
            network, loaded.relation, loaded.tokenizers, [], {**loaded.provenance, "calibrated": calibrated}
        )
        tell_graphless(give_graph(make_bundle(out, dataset, trained, loaded.history)))
        console.print(f"wrote {out}; measure it with: trunkline evaluate {out} --data {data}", soft_wrap=True)
    except (BundleError, ConfigError, DataError, OSError) as error:
        raise fail(error) from None


def with_hierarchies(config: Config, chains: list[list[str]]) -> Config:
    """A bundle's config with these hierarchies in the place of its own; without any, as it is.

    Raises ConfigError for chains that it cannot have.
    """
    from model.config import parse_config

    if not chains:
        return config
    document = config.model_dump(mode="json")
    for task in document["tasks"].values():
        task.pop("parents", None)
    document["hierarchies"] = [[name.strip() for name in chain] for chain in chains]
    return parse_config(document, "--hierarchy")
