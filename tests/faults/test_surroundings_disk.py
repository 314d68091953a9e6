"""Nothing of the service needs a place to write: it serves from a full disk, a read-only one, and without /tmp."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.app.processes.service import ROOT
from tests.faults.surrounded import surrounded

pytestmark = pytest.mark.slow

# Each runs in a mount namespace of its own, then the command behind it. Interpreter and project are mounted where
# none of this touches them, since they may lie in /tmp themselves. $1 and $2 are their folders.
_MOVE = """
mount --make-rprivate / && mount -t tmpfs none /mnt && mkdir /mnt/environment /mnt/project || exit 9
mount --rbind "$1" /mnt/environment && mount --rbind "$2" /mnt/project && cd /mnt/project || exit 9
shift 3
set -- env PYTHONPATH=/mnt/project /mnt/environment/bin/python "$@"
"""
_READ_ONLY = """
mount -o remount,bind,ro / && mount -t tmpfs -o ro none /tmp || exit 9
mount -o remount,bind,ro /mnt && mount -o remount,bind,ro /mnt/environment || exit 9
mount -o remount,bind,ro /mnt/project || exit 9
for place in / /tmp /mnt /mnt/environment /mnt/project; do ! touch "$place/refused" 2>/dev/null || exit 9; done
exec "$@"
"""
_WITHOUT_TMP = """
mkdir /mnt/root_ && cd /mnt/root_ || exit 9
for entry in /*; do
    case "$entry" in /tmp | /var | /mnt) continue ;; esac
    if [ -L "$entry" ]; then cp -P "$entry" ".$entry"
    elif [ -d "$entry" ]; then mkdir ".$entry" && mount --rbind "$entry" ".$entry" || exit 9
    fi
done
mkdir -p mnt/environment mnt/project && mount --rbind /mnt/environment mnt/environment || exit 9
mount --rbind /mnt/project mnt/project || exit 9
[ ! -e ./tmp ] && [ ! -e ./var ] && exec chroot . "$@"
"""
_FULL = """
mount -t tmpfs -o size=16k none /tmp && mount -t tmpfs -o size=16k none /var/tmp || exit 9
dd if=/dev/zero of=/tmp/filled 2>/dev/null
dd if=/dev/zero of=/var/tmp/filled 2>/dev/null
! echo more 2>/dev/null >/tmp/filled_more || exit 9
exec "$@" >/dev/full 2>&1
"""
SURROUNDINGS = {"read-only root": _READ_ONLY, "no /tmp": _WITHOUT_TMP, "full disk": _FULL}


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("where", SURROUNDINGS)
def test_the_shipped_bundle_is_served(where: str, workers: int) -> None:
    prelude = ("unshare", "-m", "sh", "-c", _MOVE + SURROUNDINGS[where], "sh", sys.prefix, str(ROOT))
    with surrounded(None, "--workers", str(workers), prelude=prelude) as service:
        service.wait_ready()
        assert service.ask() == 200
        service.stop()
    assert "Traceback" not in "".join(service.log)
