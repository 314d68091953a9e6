"""No package in a lock file has a known vulnerability, as far as the index that pip uses can tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-torch.lock", "requirements-dev.lock")
SECONDS = 500

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 60)]


@pytest.mark.parametrize("lock", LOCKS)
def test_no_locked_version_has_a_known_vulnerability(lock: str) -> None:
    pytest.importorskip("pip_audit", reason="pip-audit is not installed")
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / lock), "--no-deps", "--disable-pip"]
    try:
        outcome = subprocess.run(
            [*command, "--progress-spinner", "off", "--format", "json"],
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip(f"the vulnerability data did not come within {SECONDS} s")
    if not outcome.stdout:
        pytest.skip(f"the vulnerability data cannot be reached: {outcome.stderr.strip()[-300:]}")
    audited = json.loads(outcome.stdout)["dependencies"]
    known = [package for package in audited if "skip_reason" not in package]
    if not known:
        pytest.skip(f"the vulnerability data cannot be reached: {audited[0]['skip_reason']}")
    vulnerable = {
        f"{package['name']} {package['version']}": [fault["id"] for fault in package["vulns"]]
        for package in known
        if package["vulns"]
    }
    assert vulnerable == {}
    pinned = [line for line in (ROOT / lock).read_text().splitlines() if "==" in line]
    assert len(known) == len(pinned), [package for package in audited if package not in known]
