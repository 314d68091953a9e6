"""What a bundle's `graph.onnx` refers to, read without a library of ONNX: a graph may read the bundle's weights alone.

Runtimes open the files that a graph names, so a graph is looked through before one of them sees it. Of protocol
buffers' wire format, this reads the fields on the way to tensors; their numbers are those of onnx.proto.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

# Tensors of fewer bytes lie in the graph itself: a reference to one is hardly shorter.
SMALLEST_REFERENCE = 256
_EXTERNAL = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Message -> number of a field -> the message that it holds. Tensors are what is looked for.
_FIELDS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
# Nobody nests control flow this deep; a file that does is made to exhaust the stack.
_DEEPEST = 32

_Field: TypeAlias = tuple[int, int | memoryview]


class GraphError(ValueError):
    """A graph that cannot be trusted or read; the message says what is wrong with it."""


@dataclass(frozen=True)
class Reference:
    """Bytes outside the graph that are one of its tensors."""

    tensor: str
    location: str
    offset: int
    length: int


def check_references(graph: bytes, weights_name: str, weights: bytes) -> None:
    """Raise GraphError unless every tensor outside the graph is, byte by byte, one of the safetensors file."""
    extents = set(tensor_extents(weights).values())
    for reference in external_references(graph):
        if reference.location != weights_name:
            raise GraphError(
                f"tensor {reference.tensor!r} lies in {reference.location!r}; a graph may refer to {weights_name} alone"
            )
        if (reference.offset, reference.length) not in extents:
            raise GraphError(
                f"tensor {reference.tensor!r} is {reference.length} bytes at {reference.offset} of {weights_name}, "
                "where no tensor of that size starts"
            )


def external_references(graph: bytes) -> list[Reference]:
    """Every tensor of an ONNX model that lies in another file. Raises GraphError when the bytes are no such model."""
    try:
        return [_reference(tensor) for tensor in _tensors("Model", memoryview(graph), 0) if _is_external(tensor)]
    except (IndexError, UnicodeDecodeError) as error:
        raise GraphError(f"not an ONNX model: {error}") from None


def tensor_extents(weights: bytes) -> dict[str, tuple[int, int]]:
    """Tensor -> offset and length of its bytes in a safetensors file, which has been read before.

    The file is the length of its header as eight bytes, the header as JSON, then the tensors; offsets in the header
    count from its end.
    """
    start = 8 + int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8:start])
    return {
        name: (start + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _tensors(message: str, content: memoryview, depth: int) -> Iterator[list[_Field]]:
    if depth > _DEEPEST:
        raise GraphError("not an ONNX model: nested too deep")
    for number, value in _fields(content):
        inner = _FIELDS[message].get(number)
        if inner is None:
            continue
        if isinstance(value, int):
            raise GraphError(f"not an ONNX model: field {number} of a {message} is a number")
        if inner == "Tensor":
            yield list(_fields(value))
        else:
            yield from _tensors(inner, value, depth + 1)


def _is_external(tensor: list[_Field]) -> bool:
    # data_location says so; a reader that goes by external_data alone must not be misled either.
    return any((number == 14 and value == _EXTERNAL) or number == 13 for number, value in tensor)


def _reference(tensor: list[_Field]) -> Reference:
    name, entries = "", {}
    for number, value in tensor:
        if isinstance(value, int):
            continue
        if number == 8:
            name = str(value, "utf-8")
        elif number == 13:
            pair = {key: str(text, "utf-8") for key, text in _fields(value) if not isinstance(text, int)}
            key = pair.get(1, "")
            if key in entries:
                raise GraphError(f"tensor {name!r} names its {key} twice")
            entries[key] = pair.get(2, "")
    try:
        return Reference(name, entries["location"], int(entries["offset"]), int(entries["length"]))
    except (KeyError, ValueError):
        raise GraphError(f"tensor {name!r} lies outside, and not by location, offset and length: {entries}") from None


def _fields(content: memoryview) -> Iterator[_Field]:
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _varint(content, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _varint(content, position)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise GraphError(f"not an ONNX model: a field of kind {kind}")
        if position + size > len(content):
            raise GraphError("not an ONNX model: it ends within a field")
        yield number, content[position : position + size]
        position += size


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise GraphError("not an ONNX model: a number is too long")
