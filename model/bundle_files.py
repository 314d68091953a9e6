"""The files of a bundle: none outside its folder, none too large, none that is not what its checksum says."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

MANIFEST, WEIGHTS, GRAPH, CALIBRATION, GOLDEN, HISTORY, REPORT, CARD, PAGE = (
    "bundle.yaml",
    "model.safetensors",
    "graph.onnx",
    "calibration.json",
    "golden.json",
    "history.json",
    "report.json",
    "README.md",
    "report.html",
)
MEASURED = (REPORT, CARD, PAGE)  # what `trunkline evaluate` writes, and people may change
_MIB = 1 << 20
# A file is read whole into memory; a larger one is a mistake or an attack. Tokenizers, which have names of their own,
# may have what golden cases may.
LARGEST = {
    MANIFEST: 8 * _MIB,
    WEIGHTS: 8192 * _MIB,
    GRAPH: 64 * _MIB,
    CALIBRATION: 64 * _MIB,
    GOLDEN: 64 * _MIB,
    HISTORY: 16 * _MIB,
    REPORT: 16 * _MIB,
    CARD: 4 * _MIB,
    PAGE: 16 * _MIB,
}
_SEALED = re.compile(rb"(.*\n)checksum: ([0-9a-f]{64})\n", re.DOTALL)


class BundleError(ValueError):
    """A bundle that cannot be used; the message names the file and what is wrong with it."""


def read_file(folder: Path, name: str) -> bytes:
    """The content of a file of the bundle in `folder`.

    Raises BundleError for what is no plain name, leads out of the folder by a link, is no file, cannot be read, or is
    larger than such a file may be.
    """
    if Path(name).name != name or name in ("", "..") or "\0" in name:
        raise BundleError(f"{folder / MANIFEST}: {name!r} is not a plain file name")
    path, limit = folder / name, LARGEST.get(name, LARGEST[GOLDEN])
    try:
        place = path.resolve(strict=True)
        # Links within the folder are how some stores keep versions; those out of it could name any file there is.
        if not place.is_relative_to(folder.resolve(strict=True)):
            raise BundleError(f"{path}: is a link that leads out of the bundle's folder; put the file itself there")
        # Not blocking, or a named pipe would hold the start up for ever.
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{path}: is not a file")
            if status.st_size > limit:
                raise BundleError(f"{path}: larger than the {limit} bytes that such a file may have")
            with open(fd, "rb", closefd=False) as file:
                content = file.read(status.st_size + 1)
        finally:
            os.close(fd)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        raise BundleError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
    if len(content) != status.st_size:
        raise BundleError(f"{path}: changes while it is read; copy the bundle again")
    return content


def read_checked(folder: Path, name: str, expected: str | None) -> bytes:
    """The same, if its SHA-256 is the expected one. Raises BundleError."""
    content = read_file(folder, name)
    if hashlib.sha256(content).hexdigest() != expected:
        raise BundleError(
            f"{folder / name}: its SHA-256 is not the one in {MANIFEST}; the file is damaged or was changed, "
            "copy the bundle again"
        )
    return content


def sealed(manifest: bytes) -> bytes:
    """A manifest with its own checksum as the last line. `manifest` ends with a line's end."""
    return manifest + f"checksum: {hashlib.sha256(manifest).hexdigest()}\n".encode()


def unseal(folder: Path, content: bytes) -> bytes:
    """The manifest before its checksum, which is right. Raises BundleError."""
    path, found = folder / MANIFEST, _SEALED.fullmatch(content)
    meant = f"if it is as it is meant to be, `trunkline seal {folder}` writes one, otherwise copy the bundle again"
    if found is None:
        raise BundleError(f"{path}: does not end with a checksum of its own; {meant}")
    if hashlib.sha256(found[1]).hexdigest().encode() != found[2]:
        raise BundleError(f"{path}: its SHA-256 is not the one in its last line; {meant}")
    return found[1]


def without_seal(content: bytes) -> bytes:
    """The manifest before its checksum, whether that is right, wrong or missing."""
    found = _SEALED.fullmatch(content)
    return found[1] if found else content


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or not there."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    temporary.replace(path)
