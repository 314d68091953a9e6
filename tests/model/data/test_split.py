"""Division by group: look-alikes stay together, whatever they share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import DataConfig
from model.data import DataError
from model.data.split import group, split_by_group, split_name

_keys = st.lists(st.tuples(st.none() | st.integers(0, 30), st.none() | st.integers(0, 30)), min_size=1, max_size=60)


@given(_keys)
def test_rows_are_one_group_exactly_when_a_chain_of_shared_keys_joins_them(
    pairs: list[tuple[int | None, int | None]],
) -> None:
    titles, pictures = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    groups = group(len(pairs), [titles, pictures])
    assert sorted(index for members in groups for index in members) == list(range(len(pairs)))
    number = {index: which for which, members in enumerate(groups) for index in members}
    for keys in (titles, pictures):
        for one, key in enumerate(keys):
            assert all(
                number[one] == number[other] for other, same in enumerate(keys) if key is not None and key == same
            )
    for members in groups:  # reached from its first member by shared keys alone
        reached, grew = {members[0]}, True
        while grew:
            more = {
                other
                for other in members
                for one in reached
                for keys in (titles, pictures)
                if keys[one] is not None and keys[one] == keys[other]
            }
            grew = not more <= reached
            reached |= more
        assert reached == set(members)


@given(st.lists(st.integers(1, 5), min_size=3, max_size=80), st.integers(0, 3))
def test_every_row_is_in_one_split_and_no_group_is_divided(sizes: list[int], seed: int) -> None:
    groups, start = [], 0
    for size in sizes:
        groups.append(list(range(start, start + size)))
        start += size
    divided = split_by_group(groups, DataConfig(), seed)
    assert sorted(index for rows in divided.values() for index in rows) == list(range(start))
    for members in groups:
        assert sum(bool(set(members) & set(rows)) for rows in divided.values()) == 1
    assert all(divided.values())


def test_shares_are_those_of_the_config() -> None:
    divided = split_by_group([[index] for index in range(1000)], DataConfig(val_share=0.2, test_share=0.05), seed=0)
    assert {name: len(rows) for name, rows in divided.items()} == {"train": 750, "val": 200, "test": 50}


def test_the_seed_decides() -> None:
    groups = [[index] for index in range(100)]
    assert split_by_group(groups, DataConfig(), 1) == split_by_group(groups, DataConfig(), 1)
    assert split_by_group(groups, DataConfig(), 1) != split_by_group(groups, DataConfig(), 2)


def test_no_test_split_when_its_share_is_zero() -> None:
    divided = split_by_group([[index] for index in range(10)], DataConfig(test_share=0), seed=0)
    assert divided["test"] == []
    assert len(divided["val"]) == 1


def test_a_group_larger_than_the_share_still_fills_the_split() -> None:
    divided = split_by_group([[0, 1, 2], [3, 4], [5, 6, 7, 8]], DataConfig(), seed=0)
    assert divided == {"val": [3, 4], "test": [0, 1, 2], "train": [5, 6, 7, 8]}


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(DataError, match=r"9 rows fall into 2 group\(s\).*Add rows, or a column 'split'"):
        split_by_group([list(range(5)), list(range(5, 9))], DataConfig(), seed=0)


def test_splits_are_known_under_the_names_that_tables_use() -> None:
    names = ["train", "Training", "val", "valid", "Validation", "dev", " TEST ", "testing", "holdout", ""]
    assert [split_name(name) for name in names] == [
        "train", "train", "val", "val", "val", "val", "test", "test", None, None,
    ]  # fmt: skip
