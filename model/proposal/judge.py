"""What a column is good for, judged by its values: an id, a group, a text, a question of some kind, or nothing."""

from __future__ import annotations

import re

from model.proposal.classes import judge_classes
from model.proposal.columns import Column, plural, quoted
from model.proposal.numbers import judge_numbers
from model.proposal.separators import find_separator
from model.proposal.verdict import Verdict, left_out

ID_WORDS = frozenset("id ids uuid guid sku key index idx isbn asin ean upc gtin barcode".split())
GROUP_WORDS = frozenset(
    "group cluster family household parent customer client user buyer seller vendor owner patient subject session "
    "speaker host device".split()
)
_TEXT_WORDS = frozenset(
    "title name headline caption description text summary abstract body content details notes blurb plot review "
    "comment message question address".split()
)
_PLACES = frozenset("lat latitude lon lng long longitude".split())

_FEWEST_ROWS = 10
_URL = re.compile(r"(?:https?|ftp|s3|gs)://\S+", re.IGNORECASE)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_DATE = re.compile(r"(?:\d{4}([-/])\d{1,2}\1\d{1,2}|\d{1,2}([./-])\d{1,2}\2\d{2,4})(?:[T ]\d{1,2}:\d{2}.*)?")
_PICTURE = re.compile(r".*\.(?:jpe?g|png|webp|gif|bmp|tiff?)", re.IGNORECASE)
_PICTURES = re.compile(r".*\.(?:jpe?g|png|webp)\s*[,;|].*\.(?:jpe?g|png|webp)\W*", re.IGNORECASE)
_BRACKETS = re.compile(r"[\[{(].*[\])}]", re.DOTALL)
_DRESSED = re.compile(
    r"[+-]?(?:[€$£¥₹]|USD|EUR)?\s*[+-]?\d+(?:[., ']\d{3})*(?:[.,]\d+)?\s*(?:[€$£¥₹%]|USD|EUR|k|[a-z]{1,3}[²³]?)?",
    re.IGNORECASE,
)
_MOST = 0.8

# Each: the pattern, the reason why such a column is left out.
_FORMS = (
    (_PICTURES, "several picture names in a cell: give each a column of its own"),
    (_PICTURE, "picture names, but no such picture lies beside the table: put them there, or give --images FOLDER"),
    (_URL, "addresses, which are not fetched: for pictures, download them and name the files"),
    (_EMAIL, "e-mail addresses"),
    (_DATE, "dates: for a question, write a number such as the year"),
    (_BRACKETS, "lists or objects in brackets: write labels as a|b|c to have them as a multilabel task"),
)


def judge(column: Column) -> Verdict:
    """What the column is good for by itself; what it is beside the others is judged by `propose`."""
    if not column.filled:
        return left_out("no value in any row")
    if column.distinct == 1:
        rest = f", and no value in {plural(column.rows - column.filled, 'row')}" if column.filled < column.rows else ""
        return left_out(f"constant: {quoted(next(iter(column.counts)))} in {plural(column.filled, 'row')}{rest}")
    if column.filled < _FEWEST_ROWS:
        return left_out(f"a value in only {plural(column.filled, 'row')}")
    for pattern, reason in _FORMS:
        if column.share(pattern) >= _MOST:
            return left_out(reason)
    named = frozenset(column.words)
    if column.numbers is not None:
        return _number(column, named)
    # "1,234" and "$5" are no numbers to a program; "3 rooms" and "XL" are not meant.
    if column.distinct > 20 and column.share(_DRESSED) >= _MOST:
        example = quoted(column.counts.most_common(1)[0][0])
        return left_out(f"numbers with signs or units ({example}): write plain numbers to have a regression task")
    return _words(column, named)


def _number(column: Column, named: frozenset[str]) -> Verdict:
    if named & _PLACES:
        return left_out("a coordinate: no input here, and rarely a question")
    numbers = column.numbers or {}
    whole = all(number.is_integer() for number in numbers.values())
    if whole and column.unique:
        values = sorted(numbers.values())
        if len(values) == column.rows and values[-1] - values[0] == column.rows - 1:
            return left_out("id-like: counts the rows")
    if whole and _repeats_like_a_group(column, named):
        return _group(column)
    if whole and named & ID_WORDS and column.variety > 0.5:
        return left_out(f"id-like: {plural(column.distinct, 'different number')}")
    return judge_numbers(column, whole)


def _words(column: Column, named: frozenset[str]) -> Verdict:
    found = find_separator(column)
    if found is not None:
        separator, labels = found
        written = {"\x1f": "a control character"}.get(separator, repr(separator))
        warnings: tuple[str, ...] = ()
        rare = sum(rows < _FEWEST_ROWS for rows in labels.values())
        if rare:
            warnings = (f"{rare} of {plural(len(labels), 'label')} in fewer than {_FEWEST_ROWS} rows",)
        most, rows = labels.most_common(1)[0]
        reason = f"{plural(len(labels), 'label')} separated by {written}, the most frequent {quoted(most)} ({rows:,})"
        return Verdict("task", reason, {"kind": "multilabel", "separator": separator}, warnings)
    if _repeats_like_a_group(column, named):
        return _group(column)
    codes = column.mean_words < 1.2 and column.share(re.compile(r"(?=.*\d).*")) > 0.5
    if codes and column.variety > 0.5:
        if column.variety < 1:
            return _group(column)
        return left_out("id-like: a code of its own in each row")
    meant = bool(named & _TEXT_WORDS)
    told = Verdict("text", f"{column.mean_words:.0f} words on average, {column.variety:.0%} of the texts different")
    if meant and column.mean_words >= 3 and column.distinct > 20:
        return told
    classes = judge_classes(column)
    if classes is not None:
        return classes
    if column.mean_words >= 4 or (column.variety >= 0.3 and (meant or column.mean_words >= 1.5)):
        return told
    if column.variety > 0.5:
        return left_out(f"id-like: {plural(column.distinct, 'different value')} of one word")
    return left_out(
        f"{plural(column.distinct, 'different value')} in {plural(column.filled, 'row')}: too many for classes, too "
        "short for a text"
    )


def _repeats_like_a_group(column: Column, named: frozenset[str]) -> bool:
    """Values that tie some rows together: named so, and each in few rows."""
    tied = column.filled / column.distinct
    return bool(named & (ID_WORDS | GROUP_WORDS)) and column.distinct >= 5 and 1 < tied <= 20


def _group(column: Column) -> Verdict:
    tied = column.filled - sum(rows == 1 for rows in column.counts.values())
    return Verdict("group", f"ties {plural(tied, 'row')} into groups: {plural(column.distinct, 'value')}")
