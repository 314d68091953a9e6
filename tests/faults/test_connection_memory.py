"""What memory a picture takes while it is decoded, against what the ceiling says of it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from app import memory
from tests.app.processes.service import ROOT

SIDE = 2500

# In a process of its own, whose most is known: what it has before, and at most while it decodes.
DECODE = """
import re, sys
from pathlib import Path
from app.intake.image import decode
from app.intake.limits import Limits
from tests.support.tiny import tiny_config

def kilobytes(field):
    return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

modality = tiny_config().modalities["image"]
data = Path(sys.argv[1]).read_bytes()
decode(Path(sys.argv[2]).read_bytes(), "image", modality, Limits())  # what is loaded at the first one
Path("/proc/self/clear_refs").write_text("5")
before = kilobytes("VmRSS")
decode(data, "image", modality, Limits())
print(1024 * (kilobytes("VmHWM") - before))
"""


def saved(path: Path, kind: str, side: int) -> Path:
    turned = Image.Exif()
    turned[0x0112] = 6
    mode = {"JPEG": "CMYK"}.get(kind, "RGBA")
    more = {"JPEG": {"progressive": True}, "WEBP": {"lossless": True, "quality": 0, "method": 0}}.get(kind, {})
    buffer = io.BytesIO()
    Image.new(mode, (side, side), (10, 20, 30, 40)).save(buffer, kind, exif=turned, **more)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_decoding_takes_no_more_a_pixel_than_the_ceiling_says(tmp_path: Path, kind: str) -> None:
    large, small = saved(tmp_path / "large", kind, SIDE), saved(tmp_path / "small", kind, 100)
    told = subprocess.check_output([sys.executable, "-c", DECODE, large, small], cwd=ROOT)
    assert int(told) / SIDE**2 <= memory._DECODING
