"""Few shapes, little padding, and no two arrays in one place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.serving.runtimes.shapes import MOST_GRAPHS, Shape, Shapes
from model.config import Config
from tests.model.making import config_of


def config_with(max_tokens: int, modalities: tuple[str, ...] = ("image", "text")) -> Config:
    config = config_of(modalities=modalities)
    changed = {
        name: modality.model_copy(update={"max_tokens": max_tokens}) if modality.kind == "text" else modality
        for name, modality in config.modalities.items()
    }
    return config.model_copy(update={"modalities": changed})


@given(st.integers(4, 4096))
def test_lengths_are_few_and_the_last_one_takes_every_text(max_tokens: int) -> None:
    lengths = Shapes(config_with(max_tokens), [1]).lengths
    assert lengths[-1] == max_tokens
    assert len(lengths) <= 16
    assert (
        len({later - earlier for earlier, later in pairwise((0, *lengths[:-1]))}) <= 1
    )  # but for the last, even steps


def test_short_texts_are_padded_by_three_tokens_at_most() -> None:
    shapes = Shapes(config_with(48), [1])
    for length in range(1, 49):
        shape = shapes.of([{"text": np.ones(length, np.int64)}])
        assert 0 <= shape.length - length <= 3
        assert shape.pattern == ("text",)


def test_a_batch_has_the_longest_texts_length_and_every_modality_that_any_item_has() -> None:
    shapes = Shapes(config_with(12), [1, 2])
    picture = {"image": np.zeros((16, 12, 3), np.uint8)}
    assert shapes.of([picture]) == Shape(1, ("image",), 0)
    assert shapes.of([picture, {"text": np.ones(5, np.int64)}]) == Shape(2, ("image", "text"), 8)


def test_graphs_come_largest_first_and_those_with_everything_before_others() -> None:
    shapes = Shapes(config_with(12), [1, 4, 2]).graphs()
    assert shapes[0] == Shape(4, ("image", "text"), 12)
    assert len(shapes) == len(set(shapes)) == 3 * (3 + 1 + 3)
    full = [shape for shape in shapes if len(shape.pattern) == 2]
    assert shapes[: len(full)] == full
    assert [shape.rows for shape in full] == sorted((shape.rows for shape in full), reverse=True)


def test_graphs_are_bounded_whatever_the_config() -> None:
    shapes = Shapes(config_with(4096, ("image", "text", "brand", "blurb")), range(1, 40)).graphs()
    assert len(shapes) == MOST_GRAPHS
    assert shapes[0].rows == 39


@pytest.mark.parametrize("pattern", [("image",), ("text",), ("image", "text", "brand")])
def test_arrays_lie_beside_each_other_and_are_views_of_one_buffer(pattern: tuple[str, ...]) -> None:
    shapes = Shapes(config_with(12, ("image", "text", "brand")), [3])
    regions, present = shapes.regions(Shape(3, pattern, 8 if pattern != ("image",) else 0))
    buffer = torch.zeros(present.end, dtype=torch.uint8)
    for number, region in enumerate([*regions.values(), present], start=1):
        array = region.array(buffer)
        assert not array.any(), "another array lies here"
        array[:] = number if region is not present else True
    assert list(regions) == list(pattern)
    assert present.array(buffer).shape == (3, 3)
    if "text" in regions:
        assert regions["text"].array(buffer).shape == (3, 8)
        assert set(regions["text"].of(buffer).ravel().tolist()) == {list(pattern).index("text") + 1}


def test_the_largest_shape_holds_every_other() -> None:
    shapes = Shapes(config_with(12, ("image", "text", "brand")), [1, 2, 4])
    most = shapes.regions(shapes.largest())[1].end
    assert all(shapes.regions(shape)[1].end <= most for shape in shapes.graphs())
