"""Check, while an image is built, that what serves there is installed: `check_torch.py cpu|cuda`."""

import importlib.util
import sys


def verdict(wanted: str, installed: bool, cuda: str | None) -> tuple[bool, str]:
    """Whether the build goes on, and what to say.

    `installed`: whether torch is there; `cuda`: the CUDA version that it was built for, or None.
    """
    if wanted not in ("cpu", "cuda"):
        return False, f"DEVICE is {wanted!r}; it may be cpu or cuda."
    if wanted == "cpu":
        return (
            not installed,
            "torch is installed, and serving on a CPU needs none." if installed else "no torch, for cpu",
        )
    if cuda is None:
        return False, "DEVICE=cuda, but pip took a CPU build of torch: point it at an index that holds a CUDA build."
    return True, f"torch for CUDA {cuda}"


def main() -> int:
    """Look at the environment of this Python."""
    installed, cuda = importlib.util.find_spec("torch") is not None, None
    if installed:
        import torch

        cuda = torch.version.cuda
    fits, message = verdict(sys.argv[1], installed, cuda)
    sys.stderr.write(message + "\n")
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
