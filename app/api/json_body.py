"""A JSON body, as bytes, becomes the object that it holds: surveyed first, since parsing takes memory by its pieces.

Three bytes `[],` are an empty list of seventy, and a parser has them all before anybody can count. Of what a request
may hold, only strings are large.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from app.api.problems import Malformed

MAX_STRINGS = 4096
MAX_OUTSIDE = 64 << 10  # bytes outside strings: numbers, brackets, space
_LONGEST_NUMBER = 500  # digits; a refusal may repeat them
_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)  # of a string, behind its opening quote


def parse(body: bytes) -> dict[str, Any]:
    """The object. Raises Malformed, also where a member is there twice."""
    colons = _survey(body)
    document = _load(body)
    if not isinstance(document, dict):
        raise Malformed("The JSON body must be an object.")
    if colons > len(document) and not any(map(_holds_objects, document.values())):
        raise Malformed("The JSON body has a member twice; give each input and option once.")
    return document


def _survey(body: bytes) -> int:
    """How many colons stand outside strings, which is the number of members. Raises Malformed for too many pieces.

    Up to the first fault in a body that is no JSON.
    """
    at = outside = colons = 0
    for _ in range(MAX_STRINGS):
        start = body.find(b'"', at)
        end = len(body) if start < 0 else start
        outside += end - at
        colons += body.count(b":", at, end)
        if outside > MAX_OUTSIDE:
            break
        if start < 0:
            return colons
        close = body.find(b'"', start + 1)
        if close > 0 and body[close - 1] == ord("\\"):
            rest = _REST.match(body, start + 1)
            close = rest.end() - 1 if rest else -1
        if close < 0:
            return colons
        at = close + 1
    raise Malformed(
        "The JSON body has too many pieces or is nested too deeply; send one object with the inputs and options."
    )


def _holds_objects(value: object) -> bool:
    """Whether colons may belong to other objects than the outermost; no input and no option is such a value."""
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value))


def _load(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    # orjson refuses lone surrogates in strings, which JSON allows and people's text holds.
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_int=_whole)
    except UnicodeDecodeError:
        raise Malformed("The JSON body is not UTF-8.") from None
    except RecursionError:
        raise Malformed("The JSON body is nested too deeply; send one object with the inputs and options.") from None
    except ValueError as error:
        raise Malformed(f"The body is not JSON: {error}.") from None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value")


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)
