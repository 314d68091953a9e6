"""Pictures decoded once into memory-mapped files.

For a list of files and a modality's preprocessing there is an index (what happened to each file, and a digest of its
pixels) and, for the rows that are used, a store: a .npy file of uint8 [n, H, W, 3]. Both are written under another
name and renamed when complete, so that a file with its final name is never half written.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.config import ImageModality
from model.data.faults import DataError
from model.data.source import Source
from model.preprocess import pixels

Progress = Callable[[str, int, int], None]
Pixels = NDArray[np.uint8]

_CHUNK = 64
_COPY_ROWS = 1024
_STALE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Look:
    """What decoding one file gave: a digest of its pixels, or the kind of fault and a message."""

    digest: str | None
    fault: str = ""
    message: str = ""


class ImageStore:
    """The decoded pictures of a list of files.

    `names` are file names in `source`, one a row; `what` names the work for `progress(what, done, total)`. Files are
    keyed by the names, each file's size and checksum (or time), and what the preprocessing makes of a probe picture:
    a corrected picture or changed arithmetic gives a new store. Use as a context manager: leaving it removes what
    was decoded and not taken.
    """

    def __init__(
        self, source: Source, names: Sequence[str], modality: ImageModality, cache: Path, what: str, progress: Progress
    ) -> None:
        self._source = source
        self._names = names
        self._modality = modality
        self._cache = cache
        self._what = what
        self._progress = progress
        self._shape = (modality.height, modality.width, 3)
        self._scratch: Path | None = None
        key = hashlib.sha256(_probe(modality))
        for name in names:
            key.update(f"{name}\0{source.signature(name)}\n".encode("utf-8", "surrogatepass"))
        self._key = key.hexdigest()[:24]
        _remove_stale(cache)

    def look(self) -> list[Look]:
        """What happened to each file, from the cache or by decoding them all."""
        path = self._cache / f"{self._key}.json"
        try:
            return [Look(*entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):  # there is none, or not one that this version reads
            looks = self._decode()
        with _complete(path) as partial:
            partial.write_text(json.dumps([(look.digest, look.fault, look.message) for look in looks]), "utf-8")
        return looks

    def take(self, rows: Sequence[int]) -> Pixels:
        """The pictures of these rows as a read-only memory map uint8 [n, H, W, 3]; zeros for a file without pixels."""
        everything = len(rows) == len(self._names) and all(row == index for index, row in enumerate(rows))
        name = self._key if everything else f"{self._key}-{_digest(repr(list(rows)).encode())[:16]}"
        path = self._cache / f"{name}.npy"
        stored = _open(path)
        if stored is not None:
            return stored
        if self._scratch is None:
            self._decode()
        assert self._scratch is not None
        if everything:
            os.replace(self._scratch, path)
            self._scratch = None
        else:
            self._copy(self._scratch, rows, path)
        stored = _open(path)
        if stored is None:
            raise DataError(f"{path}: vanished or changed while it was read; run again")
        return stored

    def _copy(self, scratch: Path, rows: Sequence[int], path: Path) -> None:
        decoded = np.lib.format.open_memmap(scratch, "r")
        with _complete(path) as partial:
            chosen = self._create(partial, len(rows))
            for start in range(0, len(rows), _COPY_ROWS):
                chosen[start : start + _COPY_ROWS] = decoded[list(rows[start : start + _COPY_ROWS])]
            chosen.flush()

    def _decode(self) -> list[Look]:
        """Decode every file into a scratch file; the rows without pixels stay zeros."""
        total = len(self._names)
        looks: list[Look] = [Look(None)] * total
        self._scratch = _partial(self._cache / f"{self._key}.npy")
        out = self._create(self._scratch, total)

        def work(start: int) -> int:
            rows = range(start, min(start + _CHUNK, total))
            for row in rows:
                looks[row] = self._decode_one(row, out)
            return len(rows)

        done = 0
        self._progress(self._what, done, total)
        with ThreadPoolExecutor(_workers(), thread_name_prefix="decode") as pool:
            pending: set[Future[int]] = {pool.submit(work, start) for start in range(0, total, _CHUNK)}
            try:
                while pending:
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                    done += sum(future.result() for future in finished)
                    self._progress(self._what, done, total)
            except BaseException:
                # An interrupt or a full disk: what is queued must not run on while the error travels.
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        out.flush()
        return looks

    def _create(self, path: Path, rows: int) -> np.memmap[Any, np.dtype[np.uint8]]:
        """A new store of zeros. Raises DataError when the disk has no room for it."""
        needed = rows * math.prod(self._shape)
        free = shutil.disk_usage(path.parent).free
        if needed > free:
            # Checked beforehand: a memory map that outgrows the disk kills the process without a message.
            raise DataError(
                f"{path.parent}: decoded pictures need {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; "
                "make room or set TRUNKLINE_CACHE to another disk"
            )
        return np.lib.format.open_memmap(path, "w+", np.uint8, (rows, *self._shape))

    def _decode_one(self, row: int, out: Pixels) -> Look:
        name = self._names[row]
        try:
            content = self._source.read(name)
        except FileNotFoundError:
            return Look(None, "missing image", f"no file {name}")
        except OSError as error:
            return Look(None, "corrupt image", f"{name}: {error}")
        try:
            with Image.open(io.BytesIO(content)) as image:
                picture = pixels(image, self._modality)
        except Exception as error:  # Pillow's decoders raise many kinds, struct.error and SyntaxError among them
            return Look(None, "corrupt image", f"{name}: {_reason(error)}")
        out[row] = picture
        return Look(_digest(picture.tobytes()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._scratch is not None:
            self._scratch.unlink(missing_ok=True)
            self._scratch = None


def default_cache() -> Path:
    """$TRUNKLINE_CACHE, else ~/.cache/trunkline."""
    named = os.environ.get("TRUNKLINE_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "trunkline"


def _open(path: Path) -> Pixels | None:
    """A store, or None when there is none that can be read."""
    try:
        stored: Pixels = np.lib.format.open_memmap(path, "r")
    except (OSError, ValueError):
        return None
    return stored


def _partial(path: Path) -> Path:
    """A new empty file beside `path`, under a name that nothing reads."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise DataError(
            f"{path.parent}: cannot write the image cache ({error.strerror}); set TRUNKLINE_CACHE"
        ) from None
    os.close(handle)
    return Path(name)


@contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """Give a partial file that becomes `path` when the block ends without an error, and vanishes otherwise."""
    partial = _partial(path)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _remove_stale(cache: Path) -> None:
    """Remove partial files that a killed run left a day ago or more; a younger one may still be written."""
    for partial in cache.glob("*.partial"):
        try:
            if time.time() - partial.stat().st_mtime > _STALE_SECONDS:
                partial.unlink()
        except FileNotFoundError:
            continue


def _probe(modality: ImageModality) -> bytes:
    """What the preprocessing makes of a fixed picture with an odd shape, transparency and every grey."""
    grey = np.add.outer(np.arange(97) * 2, np.arange(61) * 3).astype(np.uint8)
    picture = Image.fromarray(np.stack([grey, grey.T.copy().reshape(97, 61), 255 - grey, grey // 2 + 128], axis=2))
    probed = pixels(picture, modality)
    return repr(probed.shape).encode() + probed.tobytes()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _reason(error: Exception) -> str:
    # "cannot identify image file <_io.BytesIO object at 0x...>" says nothing after the first half, and never the same.
    text = str(error).partition(" <_io")[0]
    return text or type(error).__name__


def _workers() -> int:
    return min(16, os.cpu_count() or 1)
