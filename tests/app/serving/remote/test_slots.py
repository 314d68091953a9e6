"""Slots: written by one side, seen by the other, and never given to two requests."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.serving.remote.slots import SlotReader, Slots, layout, read_item, slot_bytes, write_item
from tests.support.tiny import tiny_config

CONFIG = tiny_config()
PLACES = layout(CONFIG)


@pytest.fixture
def slots() -> Iterator[Slots]:
    made = Slots(3, slot_bytes([CONFIG]))
    yield made
    made.close()


def item(seed: int, *names: str) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    both = {
        "image": generator.integers(0, 256, (16, 12, 3), dtype=np.uint8),
        "text": generator.integers(1, 99, 1 + seed % 12),
    }
    return {name: both[name] for name in names or both}


def test_modalities_lie_apart_and_within_a_slot() -> None:
    ends = 0
    for place in PLACES.values():
        assert place.offset >= ends
        ends = place.offset + place.nbytes
    assert ends <= slot_bytes([CONFIG])


def test_a_slot_fits_the_largest_bundle() -> None:
    larger = tiny_config(modalities={"text": {**CONFIG.modalities["text"].model_dump(), "max_tokens": 500}})
    assert slot_bytes([CONFIG, larger]) == slot_bytes([larger]) > slot_bytes([CONFIG])


@pytest.mark.parametrize("names", [("image", "text"), ("image",), ("text",)])
def test_what_is_written_is_read_in_another_mapping(slots: Slots, names: tuple[str, ...]) -> None:
    reader = SlotReader(slots.fd, slots.count, slots.nbytes)
    written = {}
    for seed in range(3):
        lease = slots.take()
        assert lease
        written[seed] = lease.index, write_item(item(seed, *names), PLACES, lease.region())
    for seed, (index, lengths) in written.items():
        found = read_item(lengths, PLACES, reader.region(index))
        assert list(found) == list(names)
        for name, value in item(seed, *names).items():
            assert found[name].dtype == value.dtype
            assert np.array_equal(found[name], value)


def test_pixels_that_were_decoded_into_the_slot_stay_where_they_are(slots: Slots) -> None:
    lease = slots.take()
    assert lease
    pixels = PLACES["image"].view(lease.region())
    pixels[...] = 7
    write_item({"image": pixels}, PLACES, lease.region())
    reader = SlotReader(slots.fd, slots.count, slots.nbytes)
    assert (PLACES["image"].view(reader.region(lease.index)) == 7).all()


def test_the_engine_cannot_write(slots: Slots) -> None:
    reader = SlotReader(slots.fd, slots.count, slots.nbytes)
    with pytest.raises(ValueError, match="read-only"):
        reader.region(0)[0] = 1


def test_what_the_engine_ran_is_known_when_it_has_ended(slots: Slots) -> None:
    reader = SlotReader(slots.fd, slots.count, slots.nbytes)
    assert slots.running() == set()
    for index in range(3):
        reader.mark(index, True)
    reader.mark(1, False)
    del reader
    assert slots.running() == {0, 2}
    assert slots.running() == set()
    assert not slots.region(0).any()


def test_a_slot_is_taken_until_its_last_holder_lets_go(slots: Slots) -> None:
    leases = [lease for lease in (slots.take(), slots.take(), slots.take()) if lease]
    assert sorted(lease.index for lease in leases) == [0, 1, 2]
    assert slots.take() is None
    first = leases[0]
    assert first.hold()
    first.release()
    assert slots.take() is None
    first.release()
    assert not first.hold()
    again = slots.take()
    assert again
    assert again.index == first.index


def test_threads_that_hold_and_let_go_at_once_give_it_back_once(slots: Slots) -> None:
    lease = slots.take()
    assert lease
    start = threading.Barrier(4)

    def use() -> None:
        start.wait(20)
        for _ in range(500):
            assert lease.hold()
            lease.release()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert slots.taken == 1
    lease.release()
    assert slots.taken == 0
    assert {one.index for one in (slots.take(), slots.take(), slots.take()) if one} == {0, 1, 2}


def test_lengths_that_cannot_be_are_refused(slots: Slots) -> None:
    reader = SlotReader(slots.fd, slots.count, slots.nbytes)
    for lengths in ((1, 13), (2, 1), (1,)):
        with pytest.raises(ValueError):  # noqa: PT011  # three messages
            read_item(lengths, PLACES, reader.region(0))
    for index in (-1, 3):
        with pytest.raises(ValueError, match="no slot"):
            reader.region(index)


def test_memory_that_is_too_small_or_could_shrink_is_not_mapped(slots: Slots) -> None:
    with pytest.raises(ValueError, match="size"):
        SlotReader(slots.fd, slots.count + 1, slots.nbytes)
    with pytest.raises(PermissionError):
        os.ftruncate(slots.fd, 1)
    fd = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, os.fstat(slots.fd).st_size - 2 * slots.nbytes)
    with pytest.raises(ValueError, match="shrink"):
        SlotReader(fd, 1, slots.nbytes)
    os.close(fd)


def test_the_descriptor_is_closed_and_the_memory_goes_with_what_refers_to_it() -> None:
    descriptors, mapped = set(os.listdir("/proc/self/fd")), mappings()
    made = Slots(2, 64)
    region = made.region(1)
    made.close()
    del made
    region[:] = 5
    assert (region == 5).all()
    assert mappings() == mapped + 1
    del region
    assert mappings() == mapped
    assert set(os.listdir("/proc/self/fd")) <= descriptors


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("/memfd:trunkline-slots")
