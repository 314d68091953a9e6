"""Shared memory in slots: each holds one request's pixels and tokens, written by a worker, read by the engine.

The memory is the worker's own and has no name, so nothing is left of it when the last process that maps it ends,
however it ends. A slot is taken until all who hold it have let go of it: the request, a thread that still decodes into
it although the request was given up, and the engine until it has answered.

Before the slots, the memory has a byte for each, which the engine sets while it runs what is in the slot: where the
engine is killed by what it runs, the worker finds there what that was.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.config import Config, TextModality

_ALIGNMENT = 64  # a cache line
_PAGE = mmap.ALLOCATIONGRANULARITY
_SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")


@dataclass(frozen=True)
class Place:
    """Where in a slot a modality lies, and as what."""

    offset: int  # bytes
    shape: tuple[int, ...]  # of an image [H, W, 3], of a text [max_tokens]
    dtype: type[np.uint8] | type[np.int64]

    nbytes: int

    def view(self, region: NDArray[np.uint8]) -> NDArray[np.generic]:
        """The part of a slot's memory that is this modality's."""
        return np.ndarray(self.shape, self.dtype, region, self.offset)


def layout(config: Config) -> dict[str, Place]:
    """Where each modality of a bundle lies, in the order of the config. The same in the worker and in the engine."""
    places = {}
    offset = 0
    for name, modality in config.modalities.items():
        if isinstance(modality, TextModality):
            places[name] = Place(offset, (modality.max_tokens,), np.int64, 8 * modality.max_tokens)
        else:
            shape = (modality.height, modality.width, 3)
            places[name] = Place(offset, shape, np.uint8, math.prod(shape))
        offset += _aligned(places[name].nbytes)
    return places


def slot_bytes(configs: Iterable[Config]) -> int:
    """Bytes of a slot that fits a request to any of these bundles."""
    sizes = [sum(_aligned(place.nbytes) for place in layout(config).values()) for config in configs]
    return max([_ALIGNMENT, *sizes])


def _marks_bytes(count: int) -> int:
    """Bytes before the slots; whole pages, so that the engine can map them by themselves."""
    return -(-count // _PAGE) * _PAGE


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


class Lease:
    """A slot while it is taken. Held and let go of in any thread."""

    def __init__(self, slots: Slots, index: int) -> None:
        """Held once, by whom it is given to."""
        self.index = index
        self._slots = slots
        self._holders = 1

    def hold(self) -> bool:
        """Hold it once more; false when nobody does any more, and it may be another's already."""
        with self._slots.lock:
            self._holders += bool(self._holders)
            return self._holders > 0

    def release(self) -> None:
        """Let go of it, once for each time that it was held."""
        with self._slots.lock:
            self._holders -= 1
            if not self._holders:
                self._slots.free.append(self.index)

    def region(self) -> NDArray[np.uint8]:
        """Its memory, uint8 [nbytes], which holds what was last written. For holders alone."""
        return self._slots.region(self.index)


class Slots:
    """A worker's slots."""

    def __init__(self, count: int, nbytes: int) -> None:
        """`count` slots of `nbytes` each. Memory is used up only as slots are first written to. Raises OSError."""
        self.count = count
        self.nbytes = nbytes
        self._start = _marks_bytes(count)
        size = self._start + count * nbytes
        self.fd = os.memfd_create("trunkline-slots", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)
        # The engine reads what it mapped; memory that shrank under it would kill it.
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, sum(getattr(fcntl, seal) for seal in _SEALS))
        self._memory = mmap.mmap(self.fd, size)
        self.lock = threading.Lock()
        # The last one given back is the next one taken: it is still in the processor's cache.
        self.free = list(reversed(range(count)))

    @property
    def taken(self) -> int:
        """How many somebody holds."""
        return self.count - len(self.free)

    def take(self) -> Lease | None:
        """A free slot; None when all are taken."""
        with self.lock:
            return Lease(self, self.free.pop()) if self.free else None

    def region(self, index: int) -> NDArray[np.uint8]:
        """A slot's memory, uint8 [nbytes]."""
        return np.frombuffer(self._memory, np.uint8, self.nbytes, self._start + index * self.nbytes)

    def running(self) -> set[int]:
        """The slots that the engine ran when it ended; to be asked once for each engine that has ended."""
        found = {index for index, mark in enumerate(self._memory[: self.count]) if mark}
        self._memory[: self.count] = bytes(self.count)
        return found

    def close(self) -> None:
        """Close the descriptor. The memory lives as long as something refers to it."""
        os.close(self.fd)


class SlotReader:
    """The engine's view of a worker's slots."""

    def __init__(self, fd: int, count: int, nbytes: int) -> None:
        """Map the memory behind `fd`, which stays the caller's to close. Raises ValueError where it is too small."""
        self._start = _marks_bytes(count)
        size = self._start + count * nbytes
        if count < 1 or nbytes < 1 or os.fstat(fd).st_size != size:
            raise ValueError("the shared memory does not have the announced size")
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK == 0:
            raise ValueError("the shared memory could shrink")
        self._count = count
        self._nbytes = nbytes
        self._memory = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        self._marks = mmap.mmap(fd, self._start)

    def region(self, index: int) -> NDArray[np.uint8]:
        """A slot's memory, read-only uint8 [nbytes]. Raises ValueError for a slot that is none."""
        if not 0 <= index < self._count:
            raise ValueError(f"no slot {index}")
        return np.frombuffer(self._memory, np.uint8, self._nbytes, self._start + index * self._nbytes)

    def mark(self, index: int, running: bool) -> None:
        """Say in the memory itself whether the engine runs what is in a slot."""
        self._marks[index] = running


def write_item(
    item: Mapping[str, NDArray[np.generic]], places: Mapping[str, Place], region: NDArray[np.uint8]
) -> tuple[int, ...]:
    """Put an item into a slot, except what was decoded there already; the length of each modality, 0 for a missing one.

    The length of an image is 1, that of a text its number of tokens.
    """
    lengths = []
    for name, place in places.items():
        value = item.get(name)
        if value is None:
            lengths.append(0)
            continue
        target = place.view(region)
        if value.ndim == 1:
            target[: len(value)] = value
            lengths.append(len(value))
        else:
            if not np.may_share_memory(value, target):
                target[...] = value
            lengths.append(1)
    return tuple(lengths)


def read_item(
    lengths: Iterable[int], places: Mapping[str, Place], region: NDArray[np.uint8]
) -> dict[str, NDArray[np.generic]]:
    """The item in a slot, as views of it. Raises ValueError for a length that no such item has."""
    item = {}
    for length, (name, place) in zip(lengths, places.items(), strict=True):
        if length:
            view = place.view(region)
            if length > (len(view) if view.ndim == 1 else 1):
                raise ValueError(f"{name} cannot have length {length}")
            item[name] = view[:length] if view.ndim == 1 else view
    return item
