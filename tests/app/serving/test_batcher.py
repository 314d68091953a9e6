"""The batcher's rules, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.serving.batcher import Batcher, Step


def batcher(sizes: tuple[int, ...] = (1, 2, 3, 4), max_queue: int = 8, **options: int | float) -> Batcher[str]:
    return Batcher(sizes=sizes, max_queue=max_queue, **options)  # type: ignore[arg-type]


def test_a_lone_request_runs_at_once() -> None:
    assert batcher().add("a", 0.0, 5).runs == (("a",),)


def test_a_batch_forms_while_the_engine_is_busy() -> None:
    subject = batcher()
    subject.add("a", 0.0, 5)
    for name in "bcdef":
        assert subject.add(name, 0.1, 5) == Step()
    assert subject.engine_free(1.0).runs == (("b", "c", "d", "e"),)
    assert subject.engine_free(2.0).runs == (("f",),)
    assert subject.engine_free(3.0) == Step()


def test_a_batch_has_the_largest_size_that_can_be_filled() -> None:
    subject: Batcher[int] = Batcher(sizes=(1, 2, 4, 8), max_queue=100)
    subject.add(-1, 0.0, 5)
    for id in range(15):
        subject.add(id, 0.1, 5)
    sizes = [len(run) for turn in range(1, 6) for run in subject.engine_free(float(turn)).runs]
    assert sizes == [8, 4, 2, 1]


def test_fewer_than_the_smallest_size_do_not_wait_for_more() -> None:
    subject = batcher(sizes=(4,))
    assert subject.add("a", 0.0, 5).runs == (("a",),)
    for name in "bcd":
        subject.add(name, 0.1, 5)
    assert subject.engine_free(1.0).runs == (("b", "c", "d"),)


def test_a_batch_is_handed_over_early_when_it_is_as_large_as_the_one_before() -> None:
    subject = batcher(sizes=(1, 2, 4, 8), slots=2)
    assert subject.add("a", 0.0, 5).runs == (("a",),)
    assert subject.add("b", 0.0, 5).runs == (("b",),)
    for name in "cdefg":
        assert subject.add(name, 0.0, 5).runs == ()
    assert subject.engine_free(1.0).runs == (("c", "d", "e", "f"),)
    assert subject.engine_free(2.0).runs == ()  # c to f run, and g alone is fewer
    assert subject.add("h", 2.0, 5).runs == ()
    assert subject.engine_free(3.0).runs == (("g", "h"),)


def test_an_idle_engine_gets_two_batches_at_once_where_two_are_worth_it() -> None:
    subject = batcher()
    subject.add("one", 0.0, 5)
    for name in ("two", "three"):
        subject.add(name, 0.0, 5)
    assert subject.engine_free(1.0).runs == (("two", "three"),)
    subject.widen(2)
    subject.add("x", 1.0, 5, group="x")  # first in line, and fewer than run
    for name in "ab":
        assert subject.add(name, 1.1, 5).runs == ()
    assert subject.engine_free(2.0).runs == (("x",), ("a", "b"))


def test_more_slots_can_be_given_later() -> None:
    subject = batcher(sizes=(1, 2, 4))
    assert subject.add("a", 0.0, 5).runs == (("a",),)
    subject.add("b", 0.0, 5)
    subject.widen(2)
    assert subject.add("c", 0.0, 5).runs == (("b", "c"),)
    assert subject.running == 2
    subject.widen(1)
    subject.engine_free(1.0)
    subject.engine_free(1.0)
    assert subject.running == 0


def test_batchmates_are_chosen_from_enough_for_two_batches_not_from_all_that_wait() -> None:
    subject: Batcher[int] = Batcher(sizes=(1, 2, 4), max_queue=100, item_length=0, batch_length=0, max_padding=0.1)
    subject.add(-1, 0.0, 5)
    for id, length in enumerate([5, 40, 40, 40, 40, 40, 40, 5, 5, 5, 5]):
        subject.add(id, 0.0, length)
    runs = [subject.engine_free(float(turn)).runs[0] for turn in range(1, 5)]
    assert runs == [(0, 7), (1, 2, 3, 4), (5, 6), (8, 9)]


def test_similar_lengths_run_together() -> None:
    subject = batcher(item_length=0, batch_length=0, max_padding=0.2)
    subject.add("running", 0.0, 1)
    for name, length in (("short", 4), ("long", 40), ("short too", 5), ("long too", 38)):
        subject.add(name, 0.0, length)
    assert subject.engine_free(1.0).runs == (("short", "short too"),)
    assert subject.engine_free(2.0).runs == (("long", "long too"),)


def test_what_an_item_costs_besides_its_length_is_weighed_by_group() -> None:
    for weight, together in ((0, ("short",)), (1000, ("short", "long"))):
        subject = batcher(item_length=10, batch_length=0, max_padding=0.2)
        subject.weigh("group", weight, batch_length=0)
        subject.add("running", 0.0, 1)
        for name, length in (("short", 4), ("long", 40)):
            subject.add(name, 0.0, length, group="group")
        assert subject.engine_free(1.0).runs == (together,)


def test_padding_that_costs_less_than_another_batch_is_taken() -> None:
    for batch_length, together in ((35, ("short",)), (36, ("short", "long"))):
        subject = batcher(item_length=0, max_padding=0.0, batch_length=batch_length)
        subject.add("running", 0.0, 1)
        for name, length in (("short", 4), ("long", 40)):
            subject.add(name, 0.0, length)
        assert subject.engine_free(1.0).runs == (together,)


def test_a_full_batch_leaves_the_least_similar_behind() -> None:
    subject = batcher(sizes=(1, 2, 3))
    subject.add("running", 0.0, 1)
    for name, length in (("a", 10), ("b", 14), ("c", 11), ("d", 9)):
        subject.add(name, 0.0, length)
    assert set(subject.engine_free(1.0).runs[0]) == {"a", "c", "d"}


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(31, 60))
def test_the_oldest_is_not_starved_by_better_fitting_newcomers(newcomers: list[int], length: int) -> None:
    subject: Batcher[int] = Batcher(sizes=(1, 2), max_queue=100, item_length=0, batch_length=0, max_padding=0.1)
    subject.add(-1, 0.0, 1)
    subject.add(-2, 0.0, length)
    for id, shorter in enumerate(newcomers):
        subject.add(id, 0.5, shorter)
    assert -2 in subject.engine_free(1.0).runs[0]


def test_priority_overtakes_but_does_not_starve() -> None:
    subject = batcher(sizes=(1,), priority_seconds=2.0)
    subject.add("running", 0.0, 1)
    subject.add("patient", 0.0, 1)
    subject.add("urgent", 1.0, 1, priority=1)
    subject.add("urgent but late", 2.5, 1, priority=1)
    order = [subject.engine_free(3.0).runs[0][0] for _ in range(3)]
    assert order == ["urgent", "patient", "urgent but late"]


def test_groups_do_not_mix() -> None:
    subject = batcher()
    subject.add("running", 0.0, 1, group="x")
    for name, group in (("a", "x"), ("b", "y"), ("c", "x")):
        subject.add(name, 0.0, 1, group=group)
    assert subject.engine_free(1.0).runs == (("a", "c"),)
    assert subject.engine_free(2.0).runs == (("b",),)


def test_a_full_queue_refuses_and_the_expired_make_room() -> None:
    subject = batcher(max_queue=2)
    subject.add("running", 0.0, 1)
    subject.add("a", 0.0, 1, deadline=5.0)
    subject.add("b", 0.0, 1)
    assert subject.add("c", 1.0, 1) == Step(refused=("c",))
    assert subject.add("d", 5.0, 1) == Step(expired=("a",))
    assert subject.engine_free(6.0).runs == (("b", "d"),)


def test_what_expired_does_not_run() -> None:
    subject = batcher()
    assert subject.add("late already", 1.0, 1, deadline=1.0) == Step(expired=("late already",))
    subject.add("running", 1.0, 1)
    subject.add("a", 1.0, 1, deadline=2.0)
    subject.add("b", 1.0, 1, deadline=3.0)
    assert subject.engine_free(2.0) == Step(runs=(("b",),), expired=("a",))


def test_cancelled_requests_do_not_run() -> None:
    subject = batcher()
    subject.add("running", 0.0, 1)
    subject.add("a", 0.0, 1)
    assert subject.cancel("a")
    assert not subject.cancel("a")
    assert not subject.cancel("running")
    assert subject.engine_free(1.0) == Step()


def test_misuse_is_an_error() -> None:
    subject = batcher()
    with pytest.raises(RuntimeError, match="no batch"):
        subject.engine_free(0.0)
    subject.add("running", 0.0, 1)
    subject.add("a", 0.0, 1)
    with pytest.raises(ValueError, match="waits already"):
        subject.add("a", 0.0, 1)
    with pytest.raises(ValueError, match="1 or more"):
        batcher(slots=0)
    for sizes in ((), (0, 1), (2, 1), (1, 1)):
        with pytest.raises(ValueError, match="ascending"):
            batcher(sizes=sizes)


def test_a_limit_bounds_batches_from_then_on_and_can_be_lifted() -> None:
    subject: Batcher[int] = Batcher(sizes=(1, 2, 4, 8), max_queue=100)
    subject.add(-1, 0.0, 5)
    for id in range(30):
        subject.add(id, 0.1, 5)
    sizes = []
    for largest in (8, 4, 3, 1, 8):
        subject.limit(largest)
        sizes += [len(run) for run in subject.engine_free(1.0).runs]
    assert sizes == [8, 4, 2, 1, 8]
    assert subject.largest == 8


def test_a_limit_below_every_size_is_a_size_of_its_own() -> None:
    subject: Batcher[int] = Batcher(sizes=(4, 8), max_queue=100)
    subject.limit(2)
    for id in range(6):
        subject.add(id, 0.0, 5)
    assert [len(run) for _ in range(3) for run in subject.engine_free(1.0).runs] == [2, 2, 1]


def test_after_a_limit_a_batch_ahead_need_not_be_as_large_as_those_before() -> None:
    subject = batcher(sizes=(1, 2, 4), slots=2)
    for name in "abcdefghijk":
        subject.add(name, 0.0, 5)
    assert subject.engine_free(1.0).runs == (("c", "d", "e", "f"),)
    subject.limit(2)
    assert subject.engine_free(2.0).runs == (("g", "h"),)


def test_what_is_to_run_alone_shares_neither_batch_nor_engine() -> None:
    subject = batcher(slots=2)
    assert subject.add("a", 0.0, 5).runs == (("a",),)
    assert subject.add("x", 0.0, 5, alone=True) == Step(), "another batch runs"
    for name in "bc":
        assert subject.add(name, 0.1, 5) == Step(), "and nothing overtakes it"
    assert subject.engine_free(1.0).runs == (("x",),)
    assert subject.add("d", 1.0, 5) == Step(), "nothing runs beside it, though there is a place"
    assert subject.engine_free(2.0).runs == (("b", "c", "d"),)


def test_two_that_are_to_run_alone_run_one_after_the_other() -> None:
    subject = batcher(slots=2)
    assert subject.add("x", 0.0, 5, alone=True).runs == (("x",),)
    assert subject.add("y", 0.0, 5, alone=True) == Step()
    assert subject.cancel("y")
    subject.add("z", 0.0, 5, alone=True)
    assert subject.engine_free(1.0).runs == (("z",),)
    assert subject.engine_free(2.0) == Step()
    assert subject.add("a", 2.0, 5).runs == (("a",),)
