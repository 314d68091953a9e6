"""The image's recipe and the compose file keep their promises: no root, nothing writable, started as one process."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).parents[2]
STEPS = [
    line.strip()
    for line in re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
    if line.strip() and not line.startswith("#")
]
FINAL = STEPS[max(index for index, step in enumerate(STEPS) if step.startswith("FROM ")) :]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]


def only(steps: list[str], word: str) -> str:
    found = [step.removeprefix(word).strip() for step in steps if step.startswith(word + " ")]
    assert len(found) == 1, found
    return found[0]


def test_the_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    user, group = only(FINAL, "USER").split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert not [step for step in FINAL[FINAL.index(f"USER {user}:{group}") :] if step.startswith("RUN ")]


def test_signals_reach_the_service() -> None:
    assert json.loads(only(FINAL, "ENTRYPOINT")) == ["trunkline"]
    assert json.loads(only(FINAL, "CMD")) == ["serve"]


def test_the_image_has_a_health_check_that_is_in_it() -> None:
    command = json.loads(only(FINAL, "HEALTHCHECK").partition("CMD")[2])
    folder = only(FINAL, "WORKDIR")
    assert f"COPY --from=build {folder} {folder}" in FINAL
    assert STEPS.index(f"WORKDIR {folder}") < STEPS.index("COPY deploy/healthcheck.py ./")
    assert command == ["python", f"{folder}/healthcheck.py"]
    assert all(service["healthcheck"]["test"] == ["CMD", *command] for service in SERVICES.values())


def test_every_setting_of_the_image_exists() -> None:
    named = set(re.findall(r"TRUNKLINE_(\w+)=", " ".join(FINAL)))
    named |= {key.removeprefix("TRUNKLINE_") for service in SERVICES.values() for key in service.get("environment", {})}
    assert named
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_the_dependencies_are_a_layer_of_their_own_before_the_code() -> None:
    install = next(index for index, step in enumerate(STEPS) if 'install -r "${lock}"' in step)
    assert install < STEPS.index("COPY app app")
    assert not [step for step in STEPS[:install] if re.match(r"COPY (app|model|weights|\.) ", step)]


def test_the_builder_is_sent_what_the_recipe_copies_and_little_else() -> None:
    allowed = [line[2:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!/")]
    copied = [
        word for step in STEPS if step.startswith("COPY ") and "--from" not in step for word in step.split()[1:-1]
    ]
    for source in copied:
        assert [path for path in allowed if path == source or path.startswith(f"{source}/")], source
    for path in allowed:
        assert [source for source in copied if path == source or path.startswith(f"{source}/")], path


@pytest.mark.parametrize("name", SERVICES)
def test_a_composed_service_can_do_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_composed_service_is_stopped_later_than_it_drains(name: str) -> None:
    grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["drain_timeout"].default


def test_the_cpu_is_the_default_and_the_gpu_a_profile() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["trunkline"]
    assert SERVICES["trunkline"]["build"]["args"]["DEVICE"] == "cpu"
    gpu = SERVICES["gpu"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["build"]["args"]["DEVICE"] == "cuda"
    assert "gpu" in gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"]


@pytest.fixture(scope="module")
def check_torch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_torch", ROOT / "deploy" / "check_torch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("wanted", "installed", "cuda", "fits", "said"),
    [
        ("cpu", False, None, True, "no torch"),
        ("cpu", True, None, False, "needs none"),
        ("cuda", True, "13.0", True, "for CUDA 13.0"),
        ("cuda", True, None, False, "CPU build"),
        ("gpu", True, "13.0", False, "may be cpu or cuda"),
    ],
)
def test_torch_is_there_when_it_serves_and_only_then(
    check_torch: Any, wanted: str, installed: bool, cuda: str | None, fits: bool, said: str
) -> None:
    outcome = check_torch.verdict(wanted, installed, cuda)
    assert outcome[0] is fits
    assert said in outcome[1]


@pytest.mark.parametrize(("device", "lock"), [("cpu", "requirements.lock"), ("cuda", "requirements-torch.lock")])
def test_the_image_installs_torch_for_a_gpu_alone(device: str, lock: str) -> None:
    step = next(step for step in STEPS if 'install -r "${lock}"' in step)
    choice = re.search(r"case .* esac", step)
    assert choice is not None
    shell = subprocess.run(
        ["/bin/sh", "-c", f"{choice[0]}; echo $lock"],
        env={"DEVICE": device},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout.strip() == lock


def test_the_image_asks_for_keys_and_keeps_them_in_a_volume_that_it_may_write() -> None:
    keys = re.search(r"TRUNKLINE_KEYS=(\S+)", " ".join(FINAL))
    assert keys is not None
    folder = str(Path(keys[1]).parent)
    assert f"VOLUME {folder}" in FINAL
    assert re.search(rf"install -d -o 10001 -g 10001 -m 0700 {folder}(\s|$)", " ".join(FINAL))
    assert "TRUNKLINE_NO_KEYS" not in " ".join(FINAL)


@pytest.mark.parametrize("name", SERVICES)
def test_only_what_this_machine_alone_reaches_is_composed_without_keys(name: str) -> None:
    service = SERVICES[name]
    assert service["environment"]["TRUNKLINE_NO_KEYS"] == "true"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert [volume.partition(":")[2] for volume in service["volumes"]] == ["/var/lib/trunkline"]
