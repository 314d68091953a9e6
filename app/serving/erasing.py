"""Full explanations: a request's item is answered again and again, each time without one of its parts.

The items that lack a part are ordinary ones to the engine, of lower priority than requests. A few of them are under way
at a time, of a few requests: whoever asks plainly meets at most a batch's part of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidOption, QueueFull
from app.intake.pool import IntakePool
from app.intake.prepare import Prepared
from app.serving.explanations import Parts, coalitions_of, lost
from app.serving.splitting import Row
from model.bundle import Bundle
from model.config import ImageModality
from model.erasure import Grid, Word, grid_of, hidden, mean_colour, over_cells, read_part, windows_of, without, words_of
from model.explanation import contributions
from model.preprocess import Item, TextTokenizer, normalise_text

LOWER = 1  # steps of priority below the request's own
_SHARE = 4  # of the largest batch, this part may be items of one full explanation
_RETRY = 2.0  # seconds; a full explanation takes about as long

Answer = Callable[[Item], Awaitable[Row]]


def at_once(batch_sizes: Sequence[int]) -> int:
    """Items of one full explanation that are under way at a time."""
    return max(1, max(batch_sizes) // _SHARE)


class Places:
    """Bounds the full explanations that are under way."""

    def __init__(self, most: int) -> None:
        """`most` at a time; with 0, each is refused."""
        self._free = self._most = most

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One of the places. Raises QueueFull when there is none for now, InvalidOption where there is never one."""
        if not self._most:
            raise InvalidOption("This service gives no full explanations; ask with explain=true.")
        if not self._free:
            detail = "Too many full explanations are under way; try again later, or ask with explain=true."
            raise QueueFull(detail, retry_after=_RETRY)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@dataclass(frozen=True)
class _Taken:
    """One modality taken apart: the item without each of its parts."""

    modality: str
    parts: Grid | list[Word]
    items: list[Item]


async def take_apart(
    bundle: Bundle,
    prepared: Prepared,
    texts: Mapping[str, str],
    row: Row,
    tasks: Sequence[str],
    *,
    pool: IntakePool,
    answer: Answer,
    width: int,
) -> dict[str, Parts]:
    """What each part of each present modality gave to the answers in `row`: modality -> its parts.

    `texts`: text modality -> as the request has it. `answer` answers an item and its coalitions; `width` of them are
    under way at a time. Raises what `answer` raises.
    """
    found = {}
    for taken in await pool.run(_taken_apart, bundle, prepared, texts):
        rows = await _answer_all(taken.items, answer, width)
        found[taken.modality] = await pool.run(_weigh, bundle, prepared.item, taken, rows, row, tasks)
    return found


def _taken_apart(bundle: Bundle, prepared: Prepared, texts: Mapping[str, str]) -> list[_Taken]:
    made = []
    for name, modality in bundle.config.modalities.items():
        if name not in prepared.item:
            continue
        if isinstance(modality, ImageModality):
            grid = grid_of(modality)
            picture = np.asarray(prepared.item[name], np.uint8)
            colour = mean_colour(picture)
            pictures = [hidden(picture, grid, cells, colour) for cells in windows_of(grid)]
            made.append(_Taken(name, grid, [{**prepared.item, name: pixels} for pixels in pictures]))
        else:
            tokenizer, text = bundle.tokenizers[name], texts[name]
            if name in prepared.truncated:
                text = read_part(text, tokenizer)
            words = words_of(text)
            items = [_less(prepared.item, name, tokenizer, without(text, [word])) for word in words]
            made.append(_Taken(name, words, items))
    return made


def _less(item: Item, name: str, tokenizer: TextTokenizer, text: str) -> Item:
    """The item with another text, or without one where nothing is left of it."""
    rest = {other: value for other, value in item.items() if other != name}
    return (
        {other: tokenizer(text).ids if other == name else item[other] for other in item}
        if normalise_text(text)
        else rest
    )


async def _answer_all(items: Sequence[Item], answer: Answer, width: int) -> list[Row | None]:
    """Each item's answer; None for one in which nothing is left. One that fails ends them all."""
    rows: list[Row | None] = [None] * len(items)
    numbers = iter([number for number, item in enumerate(items) if item])

    async def work() -> None:
        for number in numbers:
            rows[number] = await answer(items[number])

    workers = [asyncio.ensure_future(work()) for _ in range(width)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return rows


def _weigh(
    bundle: Bundle, item: Item, taken: _Taken, rows: Sequence[Row | None], whole: Row, tasks: Sequence[str]
) -> Parts:
    """Each part's weights, from the answers to the items that lack it."""
    number = list(item).index(taken.modality)
    # Where nothing is left of the modality, all that it gave is lost; so are items in which nothing is left at all.
    there = [n for n, less in enumerate(taken.items) if taken.modality in less]
    answered = [row for n in there if (row := rows[n]) is not None]
    weights: dict[str, NDArray[np.floating]] = {}
    for name in tasks:
        prior = bundle.calibration.priors.get(name)
        if prior is None:
            continue
        task, said = bundle.config.tasks[name], whole.probabilities[name]
        value = contributions(task, prior, coalitions_of(whole, name), said)[1][number]
        weights[name] = np.array([value] * len(rows), np.float64)
        if answered:
            coalitions = np.stack([coalitions_of(row, name) for row in answered], axis=1)
            wholes = np.stack([row.probabilities[name] for row in answered])
            weights[name][there] = lost(task, prior, said, value, number, coalitions, wholes)
        if isinstance(taken.parts, Grid):
            weights[name] = over_cells(taken.parts, weights[name])
    return Parts(taken.parts, weights)
