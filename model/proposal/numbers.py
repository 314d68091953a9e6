"""What kind of question a column of numbers asks."""

from __future__ import annotations

import statistics

from model.proposal.classes import class_notes, judge_two, nearly_constant
from model.proposal.columns import Column, as_number, plural, quoted
from model.proposal.verdict import Verdict, left_out

# Numbers in columns of these names stand for classes: they have no order.
_CODE_WORDS = frozenset("id code class label category type kind".split())
_MOST_STEPS = 20
_ROWS_A_STEP = 5
_MOST_CODES = 1000


def judge_numbers(column: Column, whole: bool) -> Verdict:
    """Binary, codes of classes, steps on a scale, or a quantity."""
    numbers = column.numbers or {}
    odd = {value: rows for value, rows in column.counts.items() if value not in numbers}
    warnings = []
    if odd:
        examples = ", ".join(quoted(value) for value in list(odd)[:3])
        warnings.append(f"{plural(sum(odd.values()), 'row')} without a number ({examples}) count as missing")
    few = nearly_constant(column)
    if few is not None:
        return few
    if column.distinct == 2:
        return judge_two(column)
    values = sorted(set(numbers.values()))
    repeated = column.filled / len(values) >= _ROWS_A_STEP
    if whole and repeated and set(column.words) & _CODE_WORDS and len(values) <= _MOST_CODES:
        reason = f"{plural(len(values), 'code')}, whose order says nothing; {class_notes(column)[0]}"
        return Verdict("task", reason, {"kind": "multiclass"}, tuple(class_notes(column)[1]))
    scale = f"{values[0]:g} to {values[-1]:g}"
    steps = all((number * 2).is_integer() for number in values)
    if steps and repeated and 3 <= len(values) <= _MOST_STEPS:
        reason = f"{plural(len(values), 'step')} on a scale, {scale}"
        return Verdict("task", reason, {"kind": "ordinal"}, (*warnings, *class_notes(column)[1]))
    middle = statistics.median(number for value in column.counts.elements() if (number := as_number(value)) is not None)
    if middle > 0 and values[-1] > 50 * middle:
        warnings.append(
            f"a long tail: the largest is {values[-1] / middle:,.0f} times the median; consider its logarithm"
        )
    if len(values) < 2:
        return left_out("one number only")
    reason = f"{plural(len(values), 'different number')}, {scale}, median {middle:g}"
    return Verdict("task", reason, {"kind": "regression"}, tuple(warnings))
