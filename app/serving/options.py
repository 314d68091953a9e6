"""Which tasks a request is answered for, and whether what it asks for makes sense."""

from __future__ import annotations

from app.errors import InvalidOption, UnknownTask
from app.serving.types import Options
from model.config import Config

TOP_K = range(1, 101)


def resolve_tasks(options: Options, config: Config) -> tuple[str, ...]:
    """Check every option against its range; the tasks to answer, each once, in the order asked for.

    Raises UnknownTask naming the tasks there are, InvalidOption naming the range.
    """
    if options.top_k not in TOP_K:
        raise InvalidOption(f"top_k is {options.top_k}; give a whole number from {TOP_K[0]} to {TOP_K[-1]}.")
    if options.coverage is not None and not 0 < options.coverage < 1:
        raise InvalidOption(
            f"coverage is {options.coverage}; give a number between 0 and 1, both excluded, such as 0.9."
        )
    if options.tasks is None:
        return tuple(config.tasks)
    if not options.tasks:
        raise InvalidOption("tasks is empty; name at least one, or leave it out for all.")
    unknown = [task for task in options.tasks if task not in config.tasks]
    if unknown:
        shown = ", ".join(repr(task[:64]) for task in unknown[:3])
        raise UnknownTask(f"No task {shown}; the tasks are {', '.join(config.tasks)}.")
    return tuple(dict.fromkeys(options.tasks))
