"""What holds for every test: one thread for torch, and none of the settings of whoever runs the tests."""

from __future__ import annotations

import os

import torch

for name in [name for name in os.environ if name.startswith("TRUNKLINE_")]:
    del os.environ[name]

# Test processes run side by side on few cores; more threads would make them wait for one another.
torch.set_num_threads(1)
