"""The command line: `trunkline serve`, whose flags are the settings, and the commands of training."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TextIO, get_args, get_origin

import typer
from pydantic import ByteSize, ValidationError
from pydantic.fields import FieldInfo

from app.access.command import keys_commands
from app.settings import Settings
from model.commands import evaluate_command, train_command
from model.export.command import export_command
from model.proposal.command import init_command
from model.recalibration import calibrate_command
from model.sealing import seal_command
from model.study.command import study_command

logger = logging.getLogger(__name__)
cli = typer.Typer(name="trunkline", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


def main() -> None:
    """The `trunkline` command."""
    try:
        cli()
    finally:
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)


def _serve(**flags: Any) -> None:
    """Serve models over HTTP until SIGTERM or Ctrl+C.

    Every setting is also read from the environment as TRUNKLINE_<NAME>, such as TRUNKLINE_PORT, and from a file .env
    in the current folder. A flag wins over the environment, the environment over the file.
    """
    # Imported here, because torch takes seconds and the help should not.
    from app.files import raise_limit
    from app.listening import AddressInUse, listen, url
    from app.memory import ceiling
    from app.processes.supervisor import supervise
    from app.telemetry.logs import configure_logging
    from app.threads import gpu_expected, plan_threads, usable_cores

    settings = _settings({name: value for name, value in flags.items() if value is not None})
    raise_limit()
    try:
        listener = listen(settings.host, settings.port, share=settings.reuse_port)
    except AddressInUse as error:
        _fail(str(error))
    warning = _check_exposure(settings, listener.getsockname()[0])
    address = url(listener)
    _say(f"Trunkline listens on {address} (page: {address}/, API: {address}/docs); loading models ...")
    configure_logging(settings.log_level, settings.log_format)
    plan = plan_threads(
        cores=usable_cores(),
        gpu=gpu_expected(settings.device),
        workers=settings.workers,
        intake=settings.intake_threads,
        forward=settings.torch_threads,
    )
    if warning is not None:
        logger.warning("%s", warning)
    logger.info("%s", plan)
    logger.info("%s", ceiling(settings, plan))
    settings = settings.model_copy(update={"intake_threads": plan.intake, "torch_threads": plan.forward})
    if plan.workers > 1 and not hasattr(os, "memfd_create"):
        _fail("--workers above 1 needs Linux, whose processes can share memory without a name")
    failure = supervise(settings, plan, listener)
    if failure is not None:
        _fail(failure)


def _check_exposure(settings: Settings, address: str) -> str | None:
    """What to warn of, by who reaches the address and what they are asked for. Ends where that must not be."""
    from app.access.exposure import is_local

    if settings.keys is None and not settings.no_keys and not is_local(address):
        _fail(
            f"other machines reach {address}, and no API key is asked for. Do one of these:\n"
            "  ask for keys:                 trunkline keys add NAME, then serve with --keys keys.json\n"
            "  listen to this machine alone: --host 127.0.0.1\n"
            "  let in whoever gets there:    --no-keys, or TRUNKLINE_NO_KEYS=true"
        )
    if settings.no_keys:
        return None if is_local(address) else f"whoever reaches {address} may use this service: no key is asked for"
    if settings.keys is not None and not settings.keys.exists():
        return f"{settings.keys} is not there yet, and nobody is let in; make a key: trunkline keys add NAME"
    return None


def _settings(flags: dict[str, Any]) -> Settings:
    try:
        return Settings(**flags)
    except ValidationError as error:
        lines = []
        for fault in error.errors(include_url=False):
            name = str(fault["loc"][0])
            where = _flag(name) if name in flags else f"TRUNKLINE_{name.upper()}"
            lines.append(f"{where}: {fault['msg'].removeprefix('Value error, ')} (given: {fault['input']!r})")
        _fail("\n".join(lines))


def _say(line: str) -> None:
    """Print a line; a full disk, or nobody who reads it, is no reason not to serve."""
    with suppress(OSError):
        typer.echo(line)
    _flush(sys.stdout)


def _flush(stream: TextIO) -> None:
    """Write what is left, or let go of what cannot be written: else it would be tried again, and fail, at the end."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fail(message: str) -> NoReturn:
    typer.echo(f"trunkline: {message}", err=True)
    raise typer.Exit(1)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    """A setting as a flag that is None unless given, so that the settings' own default and checks hold."""
    assert field.description is not None
    switch = field.annotation is bool
    option = typer.Option(
        _flag(name),
        help=f"{field.description[0].upper()}{field.description[1:]}." + ("" if switch else _default(field.default)),
        metavar=None if switch else _metavar(field.annotation),
        show_default=False,
    )
    annotation = Annotated[bool | None, option] if switch else Annotated[str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _metavar(annotation: Any) -> str:
    """How a value of a setting's type is written."""
    arguments = [argument for argument in get_args(annotation) if argument not in (type(None), Ellipsis)]
    if get_origin(annotation) is Literal:
        return "|".join(arguments)
    if get_origin(annotation) is tuple:
        return f"{_metavar(arguments[0])},..."
    if arguments:
        return _metavar(arguments[0])
    return {int: "N", float: "SECONDS", ByteSize: "SIZE", Path: "PATH"}.get(annotation, "TEXT")


def _default(default: Any) -> str:
    return "" if default is None else f" Default: {_shown(default)}."


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(map(_shown, default)) or "none"
    if isinstance(default, Path) and default.is_relative_to(Path.cwd()):
        return str(default.relative_to(Path.cwd()))
    return default.human_readable() if isinstance(default, ByteSize) else str(default)


def _add_serve() -> None:
    parameters = [_option(name, field) for name, field in Settings.model_fields.items()]
    _serve.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    _serve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    paragraphs = inspect.cleandoc(_serve.__doc__ or "").split("\n\n")
    cli.command("serve", help="\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))(_serve)


_add_serve()
cli.add_typer(keys_commands)
cli.command("init")(init_command)
cli.command("train")(train_command)
cli.command("evaluate")(evaluate_command)
cli.command("calibrate")(calibrate_command)
cli.command("export")(export_command)
cli.command("seal")(seal_command)
cli.command("study")(study_command)

if __name__ == "__main__":
    main()
