"""What holds for every test: one thread for torch, none of the settings of whoever runs the tests, how long to run."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

for name in [name for name in os.environ if name.startswith("TRUNKLINE_")]:
    del os.environ[name]

# Test processes run side by side on few cores; more threads would make them wait for one another.
torch.set_num_threads(1)

# On a busy machine anything may be slow; how slow is no test's business.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

_FULL_LENGTH_SECONDS = 3600  # in which a test at full length has ended or hangs


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("trunkline")
    group.addoption("--full-length", action="store_true", help="run pairing, soak and fuzzing at their full length")
    group.addoption("--record", action="store_true", help="write the results into docs/reliability.md")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("record"):
        if not config.getoption("full_length"):
            raise pytest.UsageError("--record keeps results of full length: give --full-length, too")
        from tests.support.record import Record  # reads what a distribution's sources lack

        config.pluginmanager.register(Record(config))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("full_length"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.timeout(_FULL_LENGTH_SECONDS), append=False)


@pytest.fixture(scope="session")
def full_length(pytestconfig: pytest.Config) -> bool:
    """Whether a test that can be as long as one likes is to run as long as is promised, or a minute at most."""
    return bool(pytestconfig.getoption("full_length"))
