"""OpenVINO, less the part of it that reports its use to its makers.

`import openvino` imports its converter of models, which sends an event over the network unless the user has forbidden
it on this machine. A service has no business there, and needs no converter.
"""

from __future__ import annotations

import sys

_CONVERTER = "openvino.tools.ovc"
_absent = "openvino" not in sys.modules
if _absent:
    # An import of a name that stands for None fails, and the library is content without.
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]
try:
    import openvino
finally:
    if _absent:
        # Whoever asks for the converter by name gets it.
        del sys.modules[_CONVERTER]

__all__ = ["openvino"]
