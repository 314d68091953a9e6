"""What a request asks for: parts and JSON members become the inputs and options that serving takes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.api.body import from_base64, shown
from app.api.problems import Malformed, UnknownPart
from app.api.split import Part
from app.errors import InvalidOption, TooLarge, UndecodableImage
from app.serving.types import Options
from model.config import RESERVED_NAMES, Config, ImageModality

OPTIONS = ("tasks", "top_k", "coverage", "explain", "model")
assert set(OPTIONS) == RESERVED_NAMES

_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_URL = re.compile(rb"\s*[A-Za-z][A-Za-z0-9+.-]{1,15}://")


@dataclass
class Asked:
    """One request, parsed but not yet decoded."""

    model: str | None = None
    inputs: dict[str, bytes | str] = field(default_factory=dict)  # modality -> bytes of an image, str of a text
    options: Options = field(default_factory=Options)


def model_of_parts(parts: Sequence[Part]) -> str | None:
    """The model that a multipart request names; None for the default."""
    names = [part.data for part in parts if part.name == "model"]
    return _text_option("model", _utf8("model", names[0])) if names else None


def asked_in_parts(parts: Sequence[Part], model: str | None, config: Config) -> Asked:
    """Sort a multipart request's parts. Raises Malformed, UnknownPart, InvalidOption or UndecodableImage."""
    asked = Asked(model)
    options: dict[str, Any] = {}
    for part in parts:
        if part.name in RESERVED_NAMES:
            value = _utf8(part.name, part.data)
            if part.name == "tasks":
                options.setdefault("tasks", []).append(value)
            elif part.name in options:
                raise InvalidOption(f"{part.name} is given twice; give it once.")
            else:
                options[part.name] = value
            continue
        modality = config.modalities.get(part.name)
        if modality is None:
            raise _unknown(part.name, config)
        if part.name in asked.inputs:
            raise Malformed(f"Part {part.name!r} is there twice; a request has one part a modality.")
        if not isinstance(modality, ImageModality):
            asked.inputs[part.name] = _utf8(part.name, part.data)
        elif part.data or part.filename:  # browsers send a file field without a file as an empty, nameless file
            _refuse_url(part.name, part.data)
            asked.inputs[part.name] = part.data
    asked.options = _options(options)
    return asked


def model_of_json(document: Mapping[str, Any]) -> str | None:
    """The model that a JSON request names; None for the default."""
    return _text_option("model", document.get("model"))


def asked_in_json(document: Mapping[str, Any], model: str | None, config: Config, text_bytes: int) -> Asked:
    """Sort a JSON request's members, null meaning absent. Raises as `asked_in_parts` does, and TooLarge for a text."""
    asked = Asked(model)
    options: dict[str, Any] = {}
    for name, value in document.items():
        if name in RESERVED_NAMES:
            options[name] = value
            continue
        modality = config.modalities.get(name)
        if modality is None:
            raise _unknown(name, config)
        if value is None:
            continue
        if not isinstance(value, str):
            raise Malformed(f"{name!r} must be a string.")
        if not isinstance(modality, ImageModality):
            if len(value.encode("utf-8", "surrogatepass")) > text_bytes:
                raise TooLarge(f"{name!r} is larger than the {text_bytes} bytes that are taken.")
            asked.inputs[name] = value
        elif value:
            _refuse_url(name, value[:64].encode("utf-8", "replace"))
            data = from_base64(value)
            if data is None:
                raise UndecodableImage(f"{name!r} is not base64; send the picture's bytes in base64.")
            asked.inputs[name] = data
    asked.options = _options(options)
    return asked


def _unknown(name: str, config: Config) -> UnknownPart:
    inputs, options = ", ".join(config.modalities), ", ".join(OPTIONS)
    return UnknownPart(f"No part {shown(name)}; the inputs are {inputs}, the options {options}.")


def _utf8(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"Part {name!r} is not UTF-8 text.") from None


def _refuse_url(name: str, data: bytes) -> None:
    if _URL.match(data):
        raise UndecodableImage(f"{name!r} is a URL, and URLs are not fetched; send the picture itself.")


def _options(given: Mapping[str, Any]) -> Options:
    defaults = Options()
    top_k, coverage = _whole("top_k", given.get("top_k")), _fraction("coverage", given.get("coverage"))
    explain = _explain(given.get("explain"))
    return Options(
        tasks=_tasks(given.get("tasks")),
        top_k=defaults.top_k if top_k is None else top_k,
        coverage=defaults.coverage if coverage is None else coverage,
        explain=defaults.explain if explain is None else explain,
    )


def _tasks(value: object) -> tuple[str, ...] | None:
    """Names from a comma-separated string or a list of such; blank is the same as absent, an empty list is not."""
    if value is None:
        return None
    pieces: Iterable[object] = [value] if isinstance(value, str) else value if isinstance(value, list) else [None]
    names: dict[str, None] = {}  # in order, each once
    for piece in pieces:
        if not isinstance(piece, str):
            raise InvalidOption("tasks must be task names, as a list or separated by commas.")
        names.update((name.strip(), None) for name in piece.split(",") if name.strip())
    if value == []:
        raise InvalidOption("tasks is empty; name at least one, or leave it out for all.")
    return tuple(names) or None


def _text_option(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidOption(f"{name} must be a string.")
    return value.strip() or None


def _whole(name: str, value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    raise InvalidOption(f"{name} must be a whole number.")


def _fraction(name: str, value: object) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise InvalidOption(f"{name} must be a number between 0 and 1, both excluded, such as 0.9.")


def _explain(value: object) -> bool | Literal["full"] | None:
    if isinstance(value, bool):
        return value
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    word = value.strip().lower() if isinstance(value, str) else None
    if word == "full":
        return "full"
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise InvalidOption("explain must be true, false or full.")
