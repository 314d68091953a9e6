"""The file of keys: hashes and limits as JSON. It holds nothing that opens a door, but decides who may come in."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from app.access.keys import PLACES, Key, KeyRing

FORMAT = 1
_LARGEST = 4 << 20  # bytes; PLACES keys with the longest names take less


class KeysError(ValueError):
    """A file of keys that cannot be used, or a change to it that cannot be made; the message names the file."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    keys: list[Key]


def read_keys(file: Path) -> list[Key]:
    """The keys of a file, in its order. Raises KeysError, and FileNotFoundError where there is no such file."""
    try:
        # Not blocking, or a named pipe in the place of the file would hold the service up.
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise KeysError(f"{file}: not a file")
            with open(fd, "rb", closefd=False) as opened:
                content = opened.read(_LARGEST + 1)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeysError(f"{file}: cannot be read ({error.strerror})") from None
    if len(content) > _LARGEST:
        raise KeysError(f"{file}: larger than the {_LARGEST} bytes that a file of keys may have")
    try:
        keys = _Document.model_validate_json(content).keys
    except ValidationError as error:
        # Where it is wrong, not what stands there: somebody may have put a key itself into the file.
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['type']}" for fault in error.errors()]
        raise KeysError(f"{file}: not a file of keys: {'; '.join(faults[:5])}") from None
    for what in ("id", "name"):
        if len({getattr(key, what) for key in keys}) < len(keys):
            raise KeysError(f"{file}: two keys have the same {what}")
    return keys


def read_ring(file: Path) -> KeyRing:
    """The keys of a file to find them by. Raises as `read_keys` does."""
    return KeyRing(read_keys(file))


def add_key(file: Path, key: Key) -> None:
    """Put a key into the file, which is made where there is none. Raises KeysError."""
    with _changing(file) as keys:
        if len(keys) == PLACES:
            raise KeysError(f"{file}: {PLACES} keys are the most that a service takes")
        if any(other.name == key.name for other in keys):
            raise KeysError(f"{file}: there is a key named {key.name!r} already; revoke it, or choose another name")
        keys.append(key)


def revoke_key(file: Path, which: str) -> Key:
    """Take the key of this name or id out of the file, and return its record. Raises KeysError."""
    with _changing(file) as keys:
        # A name may look like another key's id; then the name is meant.
        found = [key for key in keys if key.name == which] or [key for key in keys if key.id == which]
        if not found:
            raise KeysError(f"{file}: no key is named {which!r}; the keys are {_names(keys)}")
        keys.remove(found[0])
    return found[0]


def _names(keys: list[Key]) -> str:
    return ", ".join(key.name for key in keys) or "none"


@contextmanager
def _changing(file: Path) -> Iterator[list[Key]]:
    """The keys to change, written at the end unless that ends in an error; one at a time, whole or not at all."""
    # Through a link, or the link would be replaced and what it leads to would stay.
    file = file.resolve()
    try:
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise KeysError(f"{file.parent}: cannot be opened ({error.strerror})") from None
    try:
        # The folder's lock, because the file is replaced. It goes with the process, however that ends.
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            keys = read_keys(file)
            mode = stat.S_IMODE(file.stat().st_mode)
        except FileNotFoundError:
            keys, mode = [], 0o600
        yield keys
        _write(file, keys, mode)
        os.fsync(folder)
    except OSError as error:
        raise KeysError(f"{file}: cannot be written ({error.strerror})") from None
    finally:
        os.close(folder)


def _write(file: Path, keys: list[Key], mode: int) -> None:
    document = {"format": FORMAT, "keys": [_as_json(key) for key in keys]}
    temporary = file.with_name(file.name + ".part")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as opened:
        os.fchmod(opened.fileno(), mode)
        opened.write(json.dumps(document, indent=1).encode() + b"\n")
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)


def _as_json(key: Key) -> dict[str, object]:
    return {**key.model_dump(mode="json"), "scopes": sorted(key.scopes)}
