"""The cores that may be used, as control groups of both versions state them, and how they are shared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.threads import choose_workers, cpu_quota, gpu_expected, plan_threads, usable_cores


def machine(root: Path, cgroup: str, **files: str) -> Path:
    """A root with `/proc/self/cgroup` and files below `/sys/fs/cgroup`, their names written with `__` for `/`."""
    for name, content in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("content", "quota"),
    [("150000 100000\n", 1.5), ("max 100000\n", None), ("50000 100000\n", 0.5), ("", None), ("nonsense here\n", None)],
)
def test_version_2(tmp_path: Path, content: str, quota: float | None) -> None:
    root = machine(tmp_path, "0::/\n", **{"cpu.max": content})
    assert cpu_quota(root) == quota


def test_version_2_the_tightest_of_a_group_and_those_above_it_counts(tmp_path: Path) -> None:
    files = {"a__cpu.max": "200000 100000", "a__b__cpu.max": "400000 100000", "cpu.max": "max 100000"}
    assert cpu_quota(machine(tmp_path, "0::/a/b\n", **files)) == 2.0


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_version_1(tmp_path: Path, mount: str) -> None:
    files = {f"{mount}__docker__x__cpu.cfs_quota_us": "300000\n", f"{mount}__docker__x__cpu.cfs_period_us": "100000\n"}
    assert cpu_quota(machine(tmp_path, "5:memory:/other\n3:cpu,cpuacct:/docker/x\n", **files)) == 3.0


def test_version_1_in_a_container_that_sees_only_its_own_group(tmp_path: Path) -> None:
    files = {"cpu__cpu.cfs_quota_us": "50000", "cpu__cpu.cfs_period_us": "100000"}
    assert cpu_quota(machine(tmp_path, "3:cpu:/docker/of-the-host\n", **files)) == 0.5


def test_version_1_without_a_quota(tmp_path: Path) -> None:
    files = {"cpu__cpu.cfs_quota_us": "-1", "cpu__cpu.cfs_period_us": "100000"}
    assert cpu_quota(machine(tmp_path, "3:cpu:/\n0::/\n", **files)) is None


def test_a_path_outside_of_what_is_mounted_is_not_followed(tmp_path: Path) -> None:
    root = machine(tmp_path / "root", "0::/../../outside\n", **{"cpu.max": "100000 100000"})
    (tmp_path / "root/sys/outside").mkdir()
    (tmp_path / "root/sys/outside/cpu.max").write_text("10000 100000")
    assert cpu_quota(root) == 1.0


def test_a_part_of_a_core_is_one_core_and_a_quota_above_the_cores_changes_nothing(tmp_path: Path) -> None:
    assert usable_cores(machine(tmp_path, "0::/\n", **{"cpu.max": "20000 100000"})) == 1
    assert usable_cores(machine(tmp_path, "0::/\n", **{"cpu.max": "99900000 100000"})) == len(os.sched_getaffinity(0))


def test_few_cores_have_one_process_and_a_gpu_is_fed_by_several() -> None:
    assert [choose_workers(cores, gpu=False) for cores in (1, 2, 4, 7, 8, 32)] == [1, 1, 1, 1, 2, 8]
    assert choose_workers(16, gpu=True) > choose_workers(16, gpu=False)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("cores", [1, 2, 3, 7, 16, 64])
def test_a_plan_gives_everyone_a_thread_and_decoding_every_core(cores: int, gpu: bool) -> None:
    plan = plan_threads(cores=cores, gpu=gpu)
    assert min(plan.workers, plan.intake, plan.forward) >= 1
    assert cores <= plan.workers * plan.intake < cores + plan.workers
    assert plan.forward <= cores


def test_what_is_set_by_hand_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_threads(cores=2, gpu=False, workers=3, intake=5, forward=7)
    assert (plan.workers, plan.intake, plan.forward) == (3, 5, 7)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    environment = plan.environment(1)
    assert environment["OMP_NUM_THREADS"] == "4"
    assert environment["OPENBLAS_NUM_THREADS"] == "1"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_a_gpu_is_expected_where_its_driver_is_and_is_not_hidden(tmp_path: Path) -> None:
    assert gpu_expected("cuda", {}, tmp_path)
    assert not gpu_expected("auto", {}, tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert gpu_expected("auto", {}, tmp_path)
    assert not gpu_expected("auto", {"CUDA_VISIBLE_DEVICES": ""}, tmp_path)
    assert not gpu_expected("cpu", {}, tmp_path)
