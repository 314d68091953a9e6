"""Sizes of pictures, texts and training runs that suit the data: starting points that run on a CPU."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.proposal.columns import Column, plural
from model.proposal.pictures import Pattern

# Pixels of a picture, as many as a square of 96 has: a CPU trains on that in minutes to hours.
_AREA = 96 * 96
_STEP = 8
# WordPiece tokens of a word, punctuation and rare names included. Batches are padded to their own longest text only,
# so what a bound leaves unused costs nothing.
_TOKENS_A_WORD = 2
_FEWEST_TOKENS, _MOST_TOKENS = 32, 256


def image_settings(pattern: Pattern, sizes: Sequence[tuple[int, int]]) -> tuple[dict[str, Any], str]:
    """A picture's modality, and why: the pictures' own size where they are small, else their shape in fewer pixels."""
    width = statistics.median(width for width, _ in sizes) if sizes else 96.0
    height = statistics.median(height for _, height in sizes) if sizes else 96.0
    shape = min(2.0, max(0.5, width / height))
    if width * height <= _AREA and 0.5 <= width / height <= 2 and min(width, height) >= _STEP:
        chosen = round(width), round(height)
    else:
        chosen = _round(math.sqrt(_AREA * shape)), _round(math.sqrt(_AREA / shape))
    reason = f"{pattern.found:,} of {plural(len(pattern.files), 'row')} have a picture"
    if sizes:
        widths, heights = zip(*sizes, strict=True)
        if len(set(sizes)) == 1:
            reason += f"; all looked at are {widths[0]} wide and {heights[0]} high"
        else:
            reason += f"; {_range(widths)} wide and {_range(heights)} high, padded to one shape"
    else:
        reason += "; none of those looked at could be opened"
    return {"kind": "image", "path": pattern.template, "height": chosen[1], "width": chosen[0], "fit": "pad"}, reason


def text_settings(texts: Sequence[Column]) -> tuple[dict[str, Any], str]:
    """The text modality, and why: long enough for 19 rows in 20."""
    lengths = sorted(
        sum(len(part.split()) for part in parts)
        for parts in zip(*(column.values for column in texts), strict=True)
        if any(parts)
    )
    long = lengths[int(0.95 * (len(lengths) - 1))]
    wanted = math.ceil((long * _TOKENS_A_WORD + 1) / 16) * 16
    tokens = min(_MOST_TOKENS, max(_FEWEST_TOKENS, wanted))
    reason = f"{statistics.median(lengths):g} words in the middle, 19 in 20 rows have at most {long}"
    if wanted > tokens:
        reason += f"; what lies behind {tokens} tokens is not read (more cost more time)"
    empty = texts[0].rows - len(lengths)
    if empty:
        reason += f"; {plural(empty, 'row')} ({empty / texts[0].rows:.0%}) without a text"
    return {"kind": "text", "columns": [column.name for column in texts], "max_tokens": tokens}, reason


def training_settings(rows: int) -> dict[str, Any]:
    """Batches that fit the table, and epochs so that small tables are read more often."""
    batch = 128 if rows >= 8000 else 64 if rows >= 2000 else 32
    epochs = min(60, max(24, math.ceil(100_000 / rows)))
    return {"epochs": epochs, "batch_size": batch, "patience": 6 if rows >= 8000 else 10}


def bundle_name(table: Path) -> str:
    """The table's name as a bundle's."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", table.stem).strip("-._")
    return name[:64] or "model"


def _range(values: Sequence[int]) -> str:
    least, most = min(values), max(values)
    return str(least) if least == most else f"{least} to {most}"


def _round(pixels: float) -> int:
    return max(_STEP, round(pixels / _STEP) * _STEP)
