"""Whether a column lists several labels in a cell, and what separates them."""

from __future__ import annotations

from collections import Counter

from model.proposal.columns import Column

# In the order of preference among those that fit equally well.
_SEPARATORS = ("|", "\x1f", ";", ",", "/")
# A comma or a slash also stands in plain values; they separate labels only where the number of labels varies.
_AMBIGUOUS = frozenset({",", "/"})
_LEAST_SHARE = 0.05
_LONGEST_LABEL_WORDS = 4


def find_separator(column: Column) -> tuple[str, Counter[str]] | None:
    """The separator of a column of labels, and each label's rows; None where cells are not lists.

    Labels are short and come back in other combinations, which the parts of a sentence do not.
    """
    best: tuple[str, Counter[str]] | None = None
    covered = 0
    for separator in _SEPARATORS:
        cells = {value: rows for value, rows in column.counts.items() if separator in value}
        with_it = sum(cells.values())
        if with_it <= covered or with_it < max(2, _LEAST_SHARE * column.filled):
            continue
        labels = _labels(column, separator)
        if labels is not None:
            # A cell "a, b" splits at "," too; the longer form shows what the writer meant.
            spaced = separator == "," and all(cell.count(",") == cell.count(", ") for cell in cells)
            best, covered = (", " if spaced else separator, labels), with_it
    return best


def _labels(column: Column, separator: str) -> Counter[str] | None:
    """The rows of each label, if the separator makes labels of the cells."""
    labels: Counter[str] = Counter()
    lengths = set()
    for value, rows in column.counts.items():
        parts = {part.strip() for part in value.split(separator)} - {""}
        lengths.add(len(parts))
        for part in parts:
            labels[part] += rows
    if separator in _AMBIGUOUS and len(lengths) < 2:
        return None
    if len(labels) < 2 or len(labels) >= max(column.distinct, 3):
        return None
    if any(len(label.split()) > _LONGEST_LABEL_WORDS for label in labels):
        return None
    repeated = sum(rows for rows in labels.values() if rows > 2)
    return labels if repeated >= 0.8 * labels.total() else None
