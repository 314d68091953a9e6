"""The lock files hold one version of everything that the package asks for, and nothing that ties them to a machine."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]


def pins(name: str) -> dict[str, Version]:
    found = {}
    for line in (ROOT / name).read_text().splitlines():
        if not line.startswith("#"):
            package, version = line.split("==")
            assert package not in found, f"{package} is pinned twice"
            found[package] = Version(version)
    return found


LOCKS = ["requirements.lock", "requirements-torch.lock", "requirements-dev.lock"]
SERVE, BY_TORCH, DEVELOP = map(pins, LOCKS)


@pytest.mark.parametrize("requirement", RUNTIME, ids=str)
def test_what_serving_needs_is_pinned_within_its_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(SERVE[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("requirement", [extra for extra in EXTRAS if extra.name != PROJECT["name"]], ids=str)
def test_what_an_extra_needs_is_pinned_within_its_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(DEVELOP[canonicalize_name(requirement.name)])


def test_an_environment_to_develop_in_serves_with_the_same_versions() -> None:
    assert SERVE.items() <= BY_TORCH.items() <= DEVELOP.items()


def test_serving_installs_nothing_that_only_training_and_tests_need() -> None:
    needed = {canonicalize_name(requirement.name) for requirement in RUNTIME}
    assert not {canonicalize_name(extra.name) for extra in EXTRAS} - needed & SERVE.keys()


def test_serving_installs_no_torch_unless_asked_to() -> None:
    assert "openvino" in SERVE
    assert not {"torch", "transformers", "onnxruntime", "onnx"} & SERVE.keys()
    assert {"torch", "transformers"} <= BY_TORCH.keys()


@pytest.mark.parametrize("name", LOCKS[1:])
def test_a_lock_admits_every_build_of_torch(name: str) -> None:
    pinned = pins(name)
    assert pinned["torch"].local is None
    assert not [package for package in pinned if re.match(r"nvidia-|cuda-|triton", package)]


@pytest.mark.parametrize("name", [*LOCKS, "pyproject.toml", "Dockerfile"])
def test_no_package_comes_from_an_address(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert not [line for line in lines if re.search(r"https?://|file:|--(extra-)?index-url|--find-links| @ ", line)]
