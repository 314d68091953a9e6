"""Puts a network that can be hurt into the processes of a service: Python imports this in each that finds it first.

Which fault a forward has is written into the pictures, see `tests.faults.signs`.
"""

from __future__ import annotations

import sys

if "app.processes.entry" in sys.orig_argv:
    from tests.faults.signs import inject

    inject()
