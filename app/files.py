"""The open files that the system lets a process have, which is what bounds its connections."""

from __future__ import annotations

import logging
import os
import resource

log = logging.getLogger(__name__)

_ENOUGH = 1 << 16  # a limit above this is no bound on anything here
_RESERVED = 16  # files that a running service opens besides connections: to load, to log, to talk to its engine
_FEWEST = 8  # connections that make a service


class TooFewFiles(OSError):
    """The limit leaves no room for connections; the message says what it is and what is needed."""


def raise_limit() -> None:
    """Have as many as an administrator allows: the usual limit is for interactive use. Child processes inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections(most: int) -> int:
    """How many connections this process can have, at most so many. Raises TooFewFiles."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return most
    used = len(os.listdir("/dev/fd")) + _RESERVED
    if limit - used < _FEWEST:
        raise TooFewFiles(
            f"the limit of open files is {limit}, and {used + _FEWEST} are needed for the fewest connections; "
            f"raise it, such as by `ulimit -n {max(1024, 2 * used)}`"
        )
    if limit - used < most:
        log.warning("the limit of open files, %d, leaves room for %d connections, not %d", limit, limit - used, most)
    return min(most, limit - used)
