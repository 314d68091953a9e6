"""Whether a column's values are classes, and what is to be said of them."""

from __future__ import annotations

from collections import defaultdict

from model.proposal.columns import Column, plural, quoted
from model.proposal.verdict import Verdict, left_out

_MOST_CLASSES = 1000
_LONGEST_CLASS_WORDS = 6
# A class in fewer rows is told of: a few of them land in validation and test.
_RARE = 10
_PAIRS = (
    ("no", "yes"), ("n", "y"), ("false", "true"), ("f", "t"), ("off", "on"), ("0", "1"), ("0.0", "1.0"),
    ("fail", "pass"),
    ("failed", "passed"), ("negative", "positive"), ("absent", "present"), ("bad", "good"), ("ham", "spam"),
    ("rejected", "accepted"), ("denied", "approved"), ("inactive", "active"), ("nein", "ja"), ("non", "oui"),
)  # fmt: skip
_NEGATIONS = ("un", "in", "im", "dis", "non", "non-", "non ", "not ", "no ", "out of ", "without ")
_UNKNOWN = frozenset({"?", "-", "--", "—", ".", "none", "unknown", "missing", "not available", "not specified", "tbd"})


def judge_classes(column: Column) -> Verdict | None:
    """Binary or multiclass; left out when it cannot be learnt; None when the values are no classes."""
    few = nearly_constant(column)
    if few is not None:
        return few
    if column.distinct == 2:
        return judge_two(column)
    often = 5 if column.filled >= 1000 else 2
    recurring = sum(rows for rows in column.counts.values() if rows >= often)
    if (
        column.distinct > min(_MOST_CLASSES, column.filled / 3)
        or recurring < 0.8 * column.filled
        or column.mean_words > _LONGEST_CLASS_WORDS
    ):
        return None
    reason, warnings = class_notes(column)
    return Verdict("task", reason, {"kind": "multiclass"}, tuple(warnings))


def nearly_constant(column: Column) -> Verdict | None:
    """A column that says the same in all but a few rows."""
    value, rows = column.counts.most_common(1)[0]
    others = column.filled - rows
    if others >= max(3, column.filled / 1000):
        return None
    return left_out(f"nearly constant: all but {plural(others, 'row')} say {quoted(value)}")


def judge_two(column: Column) -> Verdict:
    """A yes-or-no question: which of the two values is the positive one."""
    values = sorted(column.counts)
    folded = {value.lower(): value for value in values}
    for negative, positive in _PAIRS:
        if set(folded) == {negative, positive}:
            values = [folded[negative], folded[positive]]
    for one, other in (values, values[::-1]):
        if one.lower() in {negation + other.lower() for negation in _NEGATIONS}:
            values = [one, other]
    share = column.counts[values[1]] / column.filled
    reason = f"{quoted(values[0])} or {quoted(values[1])}, the latter in {share:.1%} of rows"
    warnings = class_notes(column)[1]
    return Verdict("task", reason, {"kind": "binary", "labels": values}, tuple(warnings))


def class_notes(column: Column) -> tuple[str, list[str]]:
    """The reason for taking the values as classes, and what to look at: rare, look-alike and unspoken ones."""
    most, rows = column.counts.most_common(1)[0]
    reason = f"{plural(column.distinct, 'class')}, the most frequent {quoted(most)} ({rows / column.filled:.0%})"
    warnings = []
    rare = sorted((rows, value) for value, rows in column.counts.items() if rows < _RARE)
    if rare:
        examples = ", ".join(f"{quoted(value)} {rows}" for rows, value in rare[:3])
        warnings.append(
            f"{len(rare)} of {plural(column.distinct, 'class')} in fewer than {_RARE} rows ({examples}): merge or "
            "empty them, or do not expect them to be learnt"
        )
    spellings: dict[str, list[str]] = defaultdict(list)
    for value in column.counts:
        spellings["".join(value.casefold().split())].append(value)
    same = [" and ".join(map(quoted, group)) for group in spellings.values() if len(group) > 1]
    if same:
        warnings.append(f"the same class written differently? {'; '.join(same[:3])}")
    unspoken = [f"{quoted(value)} ({rows:,})" for value, rows in column.counts.items() if value.lower() in _UNKNOWN]
    if unspoken:
        warnings.append(f"{', '.join(unspoken)} is taken for a class; empty these cells if it means that nobody knows")
    return reason, warnings
