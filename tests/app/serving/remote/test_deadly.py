"""What ended an engine is known again by its content, for a while, and only by it."""

from __future__ import annotations

import numpy as np

from app.serving.remote.deadly import Deadly, fingerprint
from app.serving.remote.slots import layout, slot_bytes, write_item
from tests.support.tiny import tiny_config

CONFIG = tiny_config()
PLACES = layout(CONFIG)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def print_of(bundle: int, pixel: int, *tokens: int, before: int = 0) -> bytes:
    region = np.full(slot_bytes([CONFIG]), before, np.uint8)  # what an earlier request left in the slot
    item = {"image": np.full((16, 12, 3), pixel, np.uint8), "text": np.array(tokens)}
    return fingerprint(bundle, write_item(item, PLACES, region), PLACES, region)


def test_the_same_content_has_one_fingerprint_whatever_was_in_the_slot() -> None:
    assert print_of(0, 7, 1, 2) == print_of(0, 7, 1, 2, before=9)
    others = [print_of(1, 7, 1, 2), print_of(0, 8, 1, 2), print_of(0, 7, 1), print_of(0, 7, 1, 3)]
    assert len({print_of(0, 7, 1, 2), *others}) == 5


def test_it_is_refused_for_an_hour_and_then_forgotten() -> None:
    clock = Clock()
    deadly = Deadly(clock)
    assert not deadly
    deadly.add(b"a")
    clock.now = 1800.0
    deadly.add(b"b")
    assert deadly
    assert b"a" in deadly
    assert b"c" not in deadly
    clock.now = 3601.0
    assert deadly
    assert (b"a" in deadly, b"b" in deadly) == (False, True)
    clock.now = 5401.0
    assert not deadly


def test_it_does_not_grow_without_end() -> None:
    deadly = Deadly(Clock())
    for number in range(1000):
        deadly.add(str(number).encode())
    assert sum(str(number).encode() in deadly for number in range(1000)) == 256
    assert b"999" in deadly
