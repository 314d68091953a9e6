"""A torchvision of another build than torch's does not keep the libraries from being imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from model.network.encoders import torchvision_operators

# What torchvision does when it is imported: it describes operators to torch, whether it could load them or not.
DESCRIBES = """
import torch
@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold): ...
@torch.library.register_fake("torchvision::qnms")
def qnms(dets, scores, iou_threshold): ...
"""

# The module by its file alone: the package around it imports transformers.
PROGRAM = f"""
import runpy, sys
sys.path.insert(0, sys.argv[1])
try:
    import torchvision
except RuntimeError as error:
    print(error)
runpy.run_path({torchvision_operators.__file__!r})["declare_operators"]()
import torchvision
print("imported")
"""


def test_a_build_that_does_not_load_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(DESCRIBES)
    (tmp_path / "torchvision" / "_C.so").write_bytes(b"not for this torch")
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["operator torchvision::nms does not exist", "imported"]
