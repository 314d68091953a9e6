"""Where the files of a data set lie: a folder, a table with images.zip beside it, or one zip with everything."""

from __future__ import annotations

import posixpath
import zipfile
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from model.data.faults import DataError


class Source:
    """Reads the files of a data set by their name below the data folder.

    `path` is the folder that holds the table, the table itself, or a zip that holds the table. A file `a/b.jpg` is
    looked for in the folder `a` and, beside the table, in `a.zip` (with or without the leading `a/` inside). Reading
    is safe from several threads. Raises DataError when there is no table.
    """

    def __init__(self, path: str | Path, table: str) -> None:
        self.path = Path(path).expanduser()
        self._archives: dict[str, _Archive | None] = {}
        self._whole: _Archive | None = None
        if self.path.is_dir():
            self._folder = self.path
            self._table = table
            if not (self._folder / table).is_file():
                raise DataError(f"{self.path}: there is no {table} in this folder; it holds {_listing(self._folder)}")
        elif not self.path.is_file():
            raise DataError(f"{self.path}: no such file or folder; give the folder or zip that holds {table}")
        elif zipfile.is_zipfile(self.path):
            self._folder = self.path.parent
            self._whole = _Archive(self.path)
            self._table = self._whole.find(table)
        elif self.path.suffix.lower() == ".zip":
            raise DataError(f"{self.path}: not a readable zip file; it may be cut off, fetch it again")
        else:
            self._folder = self.path.parent
            self._table = self.path.name

    @property
    def table_name(self) -> str:
        """The table's name for messages."""
        return f"{self.path}/{self._table}" if self._whole else str(self._folder / self._table)

    def table(self) -> bytes:
        """The table's content."""
        try:
            if self._whole:
                return self._whole.read(self._table)
            return (self._folder / self._table).read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise DataError(f"{self.table_name}: cannot be read ({error})") from None

    def read(self, name: str) -> bytes:
        """The content of a file. Raises FileNotFoundError when there is none and OSError when it is unreadable."""
        found = self._locate(name)
        if found is None:
            raise FileNotFoundError(name)
        if isinstance(found, Path):
            return found.read_bytes()
        archive, member = found
        try:
            return archive.read(member)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise OSError(f"damaged or unsupported in {archive.path.name}: {error}") from None

    def signature(self, name: str) -> str:
        """A string that changes when the file's content does; "" when there is no such file. Does not read it."""
        found = self._locate(name)
        if found is None:
            return ""
        if isinstance(found, Path):
            stat = found.stat()
            return f"{stat.st_size}-{stat.st_mtime_ns}"
        archive, member = found
        return archive.signature(member)

    def _locate(self, name: str) -> Path | tuple[_Archive, str] | None:
        """The file on disk or its place in an archive."""
        # A name is filled in from the table: it must not lead out of the data folder, nor hold what no path can.
        name = posixpath.normpath(name)
        if name.startswith(("/", "../")) or name in ("..", ".") or "\0" in name:
            return None
        if self._whole:
            member = posixpath.join(posixpath.dirname(self._table), name)
            return (self._whole, member) if member in self._whole.names else None
        try:
            if (self._folder / name).is_file():
                return self._folder / name
        except OSError:  # a name longer than the file system takes
            return None
        parts = PurePosixPath(name).parts
        archive = self._archive(parts[0]) if len(parts) > 1 else None
        if archive is None:
            return None
        for member in (name, posixpath.join(*parts[1:])):
            if member in archive.names:
                return archive, member
        return None

    def _archive(self, folder: str) -> _Archive | None:
        """The zip that stands for a sub-folder, if there is one."""
        if folder not in self._archives:
            path = self._folder / f"{folder}.zip"
            self._archives[folder] = _Archive(path) if path.is_file() else None
        return self._archives[folder]

    def close(self) -> None:
        """Close the archives."""
        for archive in (self._whole, *self._archives.values()):
            if archive is not None:
                archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Archive:
    """A zip file with its names in a set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not a readable zip file ({error}); fetch it again") from None
        self.names = frozenset(self._zip.namelist())

    def find(self, table: str) -> str:
        """The table's full name in the archive: the one nearest to the top."""
        found = [name for name in self.names if posixpath.basename(name) == posixpath.basename(table)]
        if not found:
            tables = sorted(name for name in self.names if name.endswith((".csv", ".parquet")))
            held = f"its tables are {', '.join(tables[:10])}" if tables else "it holds no .csv or .parquet file"
            raise DataError(f"{self.path}: there is no {table} in this zip; {held}")
        return min(found, key=lambda name: (name.count("/"), name))

    def read(self, member: str) -> bytes:
        return self._zip.read(member)

    def signature(self, member: str) -> str:
        info = self._zip.getinfo(member)
        return f"{info.file_size}-{info.CRC:08x}"

    def close(self) -> None:
        self._zip.close()


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "") if names else "nothing"
