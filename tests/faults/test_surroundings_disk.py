"""Nothing of the service needs a place to write: it serves from a full disk, a read-only one, and without /tmp."""

from __future__ import annotations

import subprocess

import pytest

from tests.faults.surrounded import surrounded

pytestmark = pytest.mark.slow

# Each runs in a mount namespace of its own, then the command behind it.
_READ_ONLY = (
    "mount --make-rprivate / && mount -o remount,bind,ro / && mount -t tmpfs -o ro none /tmp"
    ' && ! touch /refused 2>/dev/null && ! touch /tmp/refused 2>/dev/null && exec "$@"'
)
_WITHOUT_TMP = """
mount --make-rprivate / && mount -t tmpfs none /mnt && mkdir /mnt/root_ && cd /mnt/root_ || exit 9
for entry in /*; do
    case "$entry" in /tmp | /var | /mnt) continue ;; esac
    if [ -L "$entry" ]; then cp -P "$entry" ".$entry"
    elif [ -d "$entry" ]; then mkdir ".$entry" && mount --rbind "$entry" ".$entry" || exit 9
    fi
done
[ ! -e ./tmp ] && [ ! -e ./var ] && exec chroot . "$@"
"""
_FULL = (
    "mount --make-rprivate / && mount -t tmpfs -o size=16k none /tmp && mount -t tmpfs -o size=16k none /var/tmp"
    " && { dd if=/dev/zero of=/tmp/filled 2>/dev/null; dd if=/dev/zero of=/var/tmp/filled 2>/dev/null;"
    ' cd /tmp; } ; ! echo more >/tmp/filled_more 2>/dev/null; exec "$@" >/dev/full 2>&1'
)
SURROUNDINGS = {"read-only root": _READ_ONLY, "no /tmp": _WITHOUT_TMP, "full disk": _FULL}


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("where", SURROUNDINGS)
def test_the_shipped_bundle_is_served(where: str, workers: int) -> None:
    prelude = ("unshare", "-m", "sh", "-c", SURROUNDINGS[where], "sh")
    with surrounded(None, "--workers", str(workers), prelude=prelude) as service:
        service.wait_ready()
        assert service.ask() == 200
        service.stop()
    assert "Traceback" not in "".join(service.log)
