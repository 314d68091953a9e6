"""How large batches may be follows what there was memory for, down at once and up again slowly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.serving.ceiling import Ceiling

SIZES = (1, 2, 4, 8, 12, 16, 24, 32)


def test_half_of_what_did_not_fit_is_the_most_from_then_on() -> None:
    ceiling = Ceiling(SIZES)
    assert ceiling.size == 32
    ceiling.fell_short(32, 0.0)
    assert ceiling.size == 16
    ceiling.fell_short(12, 1.0)
    assert ceiling.size == 4, "6 is no size"
    ceiling.fell_short(1, 2.0)
    assert ceiling.size == 1


def test_a_batch_that_had_been_made_before_does_not_raise_it() -> None:
    ceiling = Ceiling(SIZES)
    ceiling.fell_short(8, 0.0)
    ceiling.fell_short(32, 0.1)
    assert ceiling.size == 4


def test_it_goes_up_a_step_a_pause_while_batches_run() -> None:
    ceiling = Ceiling((1, 2, 4, 8))
    ceiling.fell_short(8, 100.0)
    ceiling.fell_short(4, 100.0)
    seen = []
    for second in range(101, 260, 10):
        ceiling.fitted(float(second))
        seen.append(ceiling.size)
    assert seen == [2] * 3 + [4] * 3 + [8] * 10


def test_what_never_fits_is_tried_ever_more_rarely() -> None:
    ceiling = Ceiling((1, 2, 4))
    tried = 0
    ceiling.fell_short(4, 0.0)
    for second in range(1, 24 * 3600):
        ceiling.fitted(float(second))
        if ceiling.size == 4:
            ceiling.fell_short(4, float(second))
            tried += 1
    # 30 s, doubled up to an hour, and the hours of the rest of the day.
    assert tried == 7 + 22


def test_what_fitted_in_the_end_is_tried_soon_the_next_time() -> None:
    ceiling = Ceiling((1, 2))
    now = 0.0
    for _ in range(3):
        ceiling.fell_short(2, now)
        while ceiling.size == 1:
            now += 1
            ceiling.fitted(now)
    raised_after = now
    now += 3600
    ceiling.fitted(now)
    ceiling.fell_short(2, now)
    ceiling.fitted(now + 29)
    assert ceiling.size == 1
    ceiling.fitted(now + 30)
    assert ceiling.size == 2
    assert raised_after == 30 + 60 + 120


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 100), st.booleans()), max_size=40))
def test_it_is_a_size_and_never_above_half_of_what_just_failed(events: list[tuple[int, float, bool]]) -> None:
    ceiling, now = Ceiling(SIZES), 0.0
    for size, passed, fits in events:
        now += passed
        if fits:
            ceiling.fitted(now)
        else:
            ceiling.fell_short(size, now)
            assert ceiling.size <= max(1, size // 2)
        assert ceiling.size in SIZES
