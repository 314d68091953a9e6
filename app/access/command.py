"""`trunkline keys`: add, list and revoke API keys."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from app.access.file import KeysError, add_key, read_keys, revoke_key
from app.access.gate import LOOK_SECONDS
from app.access.keys import Key, make_key

DEFAULT_FILE = Path("keys.json")
keys_commands = typer.Typer(name="keys", no_args_is_help=True, help="Make, list and revoke the API keys of a service.")
console = Console(stderr=True)


class Scope(StrEnum):
    """What a key can be for."""

    predict = "predict"
    admin = "admin"


File = Annotated[
    Path,
    typer.Option(
        "--keys", envvar="TRUNKLINE_KEYS", metavar="FILE", help="File of keys, the one that `serve --keys` names."
    ),
]


@keys_commands.command()
def add(
    name: Annotated[str, typer.Argument(help="Who gets the key: letters, digits, '.', '_' and '-'.")],
    scope: Annotated[
        list[Scope], typer.Option(help="What the key is for; admin is to read the metrics. Repeat it for both.")
    ] = [Scope.predict],  # noqa: B006  # typer reads it and changes nothing
    rate: Annotated[
        float | None, typer.Option(help="Requests a second, as many of them at once. Default: any.")
    ] = None,
    concurrent: Annotated[int | None, typer.Option(help="Requests in flight at a time. Default: any number.")] = None,
    keys: File = DEFAULT_FILE,
) -> None:
    """Make a key. It is printed once, alone, to standard output; the file holds only its hash."""
    try:
        text, key = make_key(name, {key.id for key in _read(keys)}, [each.value for each in scope], rate, concurrent)
        add_key(keys, key)
    except ValidationError as error:
        _fail("\n".join(f"{fault['loc'][0]}: {fault['msg']} (given: {fault['input']!r})" for fault in error.errors()))
    except KeysError as error:
        _fail(str(error))
    typer.echo(text)
    _tell(
        f"This is the key of {key.name}. It is not kept, and cannot be shown again. It is sent as the header\n"
        f"  Authorization: Bearer KEY\n"
        f"A service with --keys {keys} takes it within {LOOK_SECONDS:g} s."
    )


@keys_commands.command("list")
def list_keys(keys: File = DEFAULT_FILE) -> None:
    """Show the keys that there are, without what would open anything."""
    table = Table("name", "id", "scopes", "rate", "concurrent", "created", box=None)
    for key in _read(keys):
        table.add_row(key.name, key.id, ", ".join(sorted(key.scopes)), *_limits(key), f"{key.created:%Y-%m-%d %H:%M}")
    Console(width=None if Console().is_terminal else 200).print(table)


@keys_commands.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the key.")], keys: File = DEFAULT_FILE
) -> None:
    """End a key."""
    try:
        key = revoke_key(keys, which)
    except KeysError as error:
        _fail(str(error))
    _tell(f"The key of {key.name} is revoked. A service with --keys {keys} refuses it within {LOOK_SECONDS:g} s.")


def _read(file: Path) -> list[Key]:
    try:
        return read_keys(file)
    except FileNotFoundError:
        return []
    except KeysError as error:
        _fail(str(error))


def _limits(key: Key) -> tuple[str, str]:
    return "any" if key.rate is None else f"{key.rate:g}/s", "any" if key.concurrent is None else str(key.concurrent)


def _tell(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _fail(message: str) -> NoReturn:
    typer.echo(f"trunkline: {message}", err=True)
    raise typer.Exit(1)
