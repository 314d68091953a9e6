"""Check, while an image is built, that the torch in it is the build that was asked for: `check_torch.py cpu|cuda`."""

import sys

import torch


def verdict(wanted: str, cuda: str | None) -> tuple[bool, str]:
    """Whether the build goes on, and what to say. `cuda` is the CUDA version that torch was built for, or None."""
    if wanted not in ("cpu", "cuda"):
        return False, f"DEVICE is {wanted!r}; it may be cpu or cuda."
    if wanted == "cuda" and cuda is None:
        return False, "DEVICE=cuda, but pip took a CPU build of torch: point it at an index that holds a CUDA build."
    if wanted == "cpu" and cuda is not None:
        return True, f"torch is built for CUDA {cuda}; it serves on the CPU too, but TORCH_INDEX_URL saves gigabytes."
    return True, f"torch {torch.__version__} for {wanted}"


if __name__ == "__main__":
    fits, message = verdict(sys.argv[1], torch.version.cuda)
    sys.stderr.write(message + "\n")
    sys.exit(0 if fits else 1)
