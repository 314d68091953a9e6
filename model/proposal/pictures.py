"""Which pictures lie beside a table, and the pattern of names that leads from a row to its own."""

from __future__ import annotations

import io
import os
import posixpath
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from PIL import Image

from model.data.faults import DataError
from model.data.source import Source
from model.proposal.columns import Column

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
_TOKEN = re.compile(r"[^\W_]+")
_SAMPLE, _TRIED = 400, 16
# Folders below the table's; a table that lies in someone's home must not have all of it searched.
_DEEPEST = 4
# A pattern that leads fewer rows than this to a picture is chance.
_LEAST_SHARE = 0.1
# Pictures that whole classes of rows share, such as a logo a brand, say no more than the class itself.
_LEAST_VARIETY = 0.2


@dataclass(frozen=True)
class Pattern:
    """A template such as `images/{id}.jpg`, its columns, and each row's file (None where there is no such file)."""

    template: str
    columns: tuple[str, ...]
    files: tuple[str | None, ...]

    @property
    def found(self) -> int:
        """Rows that have a picture."""
        return len(self.files) - self.files.count(None)


def list_pictures(table: Path, folder: Path | None) -> list[str]:
    """The names of the pictures by which a data set finds them: relative to the table's folder.

    Looks into `folder` (a folder or a zip), or into every folder and zip beside the table. Raises DataError for a
    folder that a data set with this table cannot reach.
    """
    home = table.parent.resolve()
    if folder is not None:
        place = folder.resolve() if folder.exists() else None
        if place is None:
            raise DataError(f"{folder}: no such folder or zip of pictures")
        if not place.is_relative_to(home) or (place.suffix.lower() == ".zip" and place.parent != home):
            raise DataError(
                f"{folder}: pictures must lie in a folder below {table.parent} or a zip in it; move them there, or "
                f"link the folder: ln -s {place} {table.parent}/"
            )
        names = list(_zipped(place) if place.is_file() else _walk(place, home))
        if not names:
            raise DataError(f"{folder}: holds no picture ({', '.join(sorted(EXTENSIONS))})")
        return sorted(names)
    found = set(_walk(home, home))
    for archive in home.glob("*.zip"):
        found.update(_zipped(archive))
    return sorted(found)


def _walk(folder: Path, home: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        below = Path(place).relative_to(home).as_posix()
        deeper = below.count("/") < _DEEPEST
        folders[:] = [name for name in folders if deeper and not name.startswith(".")]
        for name in files:
            if _is_picture(name):
                yield posixpath.normpath(posixpath.join(below, name))


def _zipped(path: Path) -> Iterator[str]:
    """A zip stands for the folder of its name, with or without that folder inside."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return
    inside = path.stem + "/"
    for member in members:
        if _is_picture(posixpath.basename(member)) and not member.startswith("__MACOSX/"):
            yield member if member.startswith(inside) else inside + member


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and posixpath.splitext(name)[1].lower() in EXTENSIONS


def find_patterns(columns: Sequence[Column], names: Sequence[str]) -> list[Pattern]:
    """The patterns that lead rows to pictures, the best first; those that lead to the same files are one."""
    rows = len(columns[0].values) if columns else 0
    usable = [column for column in columns if column.distinct > 1 and not set("{}") & set(column.name)]
    first = {column.name: _first_rows(column) for column in usable}
    votes: Counter[str] = Counter()
    for name in names[:: max(1, len(names) // _SAMPLE)]:
        votes.update(_templates(name, usable, first))
    present = frozenset(names)
    tried = [_apply(template, usable, present) for template, _ in votes.most_common(_TRIED)]
    good = [
        pattern
        for pattern in tried
        if pattern.found >= _LEAST_SHARE * rows and len(set(pattern.files)) > _LEAST_VARIETY * pattern.found
    ]
    # The most pictures first; among equals the one that leaves most to the column, such as a column of file names.
    good.sort(key=lambda pattern: (-len(set(pattern.files)), -pattern.found, _literal(pattern), pattern.template))
    kept: list[Pattern] = []
    for pattern in good:
        # A column of counts meets files that are numbered, too: a picture belongs to the best pattern alone.
        own = set(pattern.files) - {None}
        if not any(len(own & set(other.files)) >= 0.5 * len(own) for other in kept):
            kept.append(pattern)
    return kept


def complements(one: Pattern, other: Pattern) -> bool:
    """Whether two patterns serve different rows: the same pictures under two kinds of name, not two pictures a row."""
    both = sum(a is not None and b is not None for a, b in zip(one.files, other.files, strict=True))
    return both < 0.5 * min(one.found, other.found)


def name_patterns(patterns: Sequence[Pattern]) -> list[str]:
    """A modality name for each: `image`, or what sets several apart, such as `front` and `back`."""
    if len(patterns) == 1:
        return ["image"]
    tokens = [
        [part for part in _TOKEN.findall(posixpath.splitext(pattern.template)[0]) if not part.isdigit()]
        for pattern in patterns
    ]
    common = set.intersection(*map(set, tokens))
    names: list[str] = []
    for number, own in enumerate(tokens, start=1):
        name = "_".join(part for part in own if part not in common) or f"image_{number}"
        names.append(name if name not in names else f"image_{number}")
    return names


def sizes(source: Source, pattern: Pattern, sample: int = 200) -> list[tuple[int, int]]:
    """Width and height of a sample of the pattern's pictures, from their headers; unreadable ones are left out."""
    names = [name for name in pattern.files if name is not None]
    found = []
    for name in names[:: max(1, len(names) // sample)]:
        try:
            with Image.open(io.BytesIO(source.read(name))) as image:
                found.append(image.size)
        except Exception:  # Pillow's decoders raise many kinds; training counts and lists what cannot be read
            continue
    return found


def _first_rows(column: Column) -> dict[str, int]:
    rows: dict[str, int] = {}
    for row, value in enumerate(column.values):
        if value:
            rows.setdefault(value, row)
    return rows


def _templates(name: str, columns: Sequence[Column], first: dict[str, dict[str, int]]) -> set[str]:
    """Templates by which this file would be some row's."""
    if set("{}") & set(name):
        return set()
    found = set()
    folders, base = posixpath.split(name)
    stem, extension = posixpath.splitext(base)
    tokens = list(_TOKEN.finditer(stem))
    spans = {(a.start(), b.end()) for i, a in enumerate(tokens) for b in tokens[i : i + 6]} | {(0, len(stem))}
    for column in columns:
        rows = first[column.name]
        for written in (name, "./" + name):
            if written in rows:
                found.add(f"{{{column.name}}}")
        if base in rows and folders:
            found.add(f"{folders}/{{{column.name}}}")
        for start, end in spans:
            row = rows.get(stem[start:end])
            if row is not None:
                filled = f"{stem[:start]}{{{column.name}}}{stem[end:]}{extension}"
                found.update(posixpath.join(*path, filled) for path in _folders(folders, columns, row))
    return found


def _folders(folders: str, columns: Sequence[Column], row: int) -> Iterator[tuple[str, ...]]:
    """The folders of a file as they stand, and with each that repeats a value of the row as that column."""
    parts = [part for part in folders.split("/") if part]
    choices = [
        [part, *(f"{{{column.name}}}" for column in columns if column.values[row] == part)][:3] for part in parts
    ]
    yield from product(*choices)


def _apply(template: str, columns: Sequence[Column], present: frozenset[str]) -> Pattern:
    """Fill the template for every row, as the data set does."""
    pieces = re.split(r"\{([^{}]*)\}", template)
    values = {column.name: column.values for column in columns}
    files: list[str | None] = []
    for row in range(len(columns[0].values)):
        filled = "".join(piece if i % 2 == 0 else values[piece][row] for i, piece in enumerate(pieces))
        name = posixpath.normpath(filled)
        files.append(name if name in present else None)
    return Pattern(template, tuple(dict.fromkeys(pieces[1::2])), tuple(files))


def _literal(pattern: Pattern) -> int:
    return len(re.sub(r"\{[^{}]*\}", "", pattern.template))
