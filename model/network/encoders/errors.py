"""What is wrong with a backbone that a config names, in words for who wrote the config."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from model.config import ConfigError


class BackboneError(ConfigError):
    """A backbone that cannot be had or cannot be used; the message says what to change."""


def near(name: str, known: Iterable[str]) -> str:
    """A hint at the names that look like the given one; nothing where none does."""
    found = difflib.get_close_matches(name, list(known), n=5, cutoff=0.6)
    return f"; near it: {', '.join(found)}" if found else ""


def near_folders(name: str) -> str:
    """The same among the folders beside the one that is missing."""
    parent = Path(name).parent
    folders = [str(path) for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    return near(name, folders)


@contextmanager
def looking_up(name: str, library: str) -> Iterator[None]:
    """Turn what a library says when it cannot find, fetch or read a backbone into a BackboneError."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        yield
    except ConfigError:
        raise
    except GatedRepoError:
        raise BackboneError(
            f"{name}: the hub gives it only to those who have asked for it; log in there first"
        ) from None
    except RepositoryNotFoundError:
        raise BackboneError(f"{name}: no such folder, and no such model on the hub{near_folders(name)}") from None
    except OSError as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if Path(name).is_dir():
            raise BackboneError(f"{name}: the folder holds no model that {library} can read: {first}") from None
        raise BackboneError(
            f"{name}: no such folder{near_folders(name)}, and the hub cannot be reached or lacks it ({first}); "
            "download it where there is a network and name its folder"
        ) from None
    except (ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise BackboneError(f"{name}: {library} cannot use it: {str(error).strip().splitlines()[0]}") from None
