"""Parts of inputs: cells that cover a picture, words as they stand in a text, and both taken away."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import ImageModality, TextModality
from model.erasure import (
    CELLS,
    MOST_WORDS,
    Grid,
    grid_of,
    hidden,
    over_cells,
    read_part,
    windows_of,
    without,
    words_of,
)
from model.preprocess import TextTokenizer
from tests.support.tiny import WORDS, tiny_config


@given(st.integers(1, 300), st.integers(1, 300))
def test_cells_cover_a_picture_once_and_are_about_as_many_as_they_should(height: int, width: int) -> None:
    modality = tiny_config().modalities["image"]
    assert isinstance(modality, ImageModality)
    grid = grid_of(modality.model_copy(update={"height": height, "width": width}))
    covered = np.zeros((height, width), int)
    for cell in range(len(grid)):
        covered[grid.box(cell)] += 1
    assert (covered == 1).all()
    assert len(grid) <= 2 * CELLS


def test_what_is_hidden_shows_the_colour_and_nothing_else_changes() -> None:
    grid = Grid(4, 3, 16, 12)
    picture = np.random.default_rng(0).integers(0, 200, (16, 12, 3), dtype=np.uint8)
    found = hidden(picture, grid, [0, 11], (255, 254, 253))
    assert (found[:4, :4] == [255, 254, 253]).all()
    assert (found[12:, 8:] == [255, 254, 253]).all()
    assert (found == picture).all(2).sum() == 16 * 12 - 32


def test_words_are_as_they_were_written() -> None:
    assert [word.text for word in words_of("  Men's  RED shirt, £5")] == ["Men's", "RED", "shirt,", "£5"]
    assert [word.text for word in words_of("红色 shirt")] == ["红", "色", "shirt"]
    assert words_of(" \n") == []


def test_a_text_without_some_of_its_words() -> None:
    text = "a  bc d"
    words = words_of(text)
    assert without(text, [words[1]]).split() == ["a", "d"]
    assert without(text, [words[2], words[0]]).split() == ["bc"]
    assert without(text, []) == text


@given(st.integers(MOST_WORDS + 1, 500))
def test_a_long_text_is_divided_into_runs_that_hold_every_word_once(count: int) -> None:
    text = " ".join(f"w{number}" for number in range(count))
    runs = words_of(text)
    assert len(runs) == MOST_WORDS
    assert " ".join(run.text for run in runs) == text
    sizes = [len(run.text.split()) for run in runs]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", [1, 5, 11, 12, 30])
def test_what_is_read_of_a_text_ends_where_nothing_changes_any_more(count: int) -> None:
    modality = tiny_config().modalities["text"]
    assert isinstance(modality, TextModality)
    tokenizer = TextTokenizer.train([word for word in WORDS for _ in range(3)], modality)
    text = " ".join(WORDS[number % 18] for number in range(count)) + " "
    read = read_part(text, tokenizer)
    assert len(read.split()) == min(count, 11), "behind the start token there is room for 11"
    assert np.array_equal(tokenizer(read).ids, tokenizer(text).ids)


def test_each_cell_weighs_the_mean_of_the_windows_that_hide_it() -> None:
    grid = Grid(3, 2, 30, 20)
    assert windows_of(grid) == [[0, 1, 2, 3], [2, 3, 4, 5]]
    assert over_cells(grid, np.array([[1.0, 0.0], [3.0, 2.0]])).tolist() == [
        [1, 0],
        [1, 0],
        [2, 1],
        [2, 1],
        [3, 2],
        [3, 2],
    ]
    assert windows_of(Grid(1, 3, 1, 3)) == [[0, 1], [1, 2]]
    assert windows_of(Grid(1, 1, 1, 1)) == [[0]]
