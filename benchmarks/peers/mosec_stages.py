"""mosec: a preprocessing stage and a batching inference stage, as its ResNet-50 example is built.

https://mosecorg.github.io/mosec/examples/pytorch.html: `append_worker(Preprocess, num=...)`, then
`append_worker(Inference, num=..., max_batch_size=...)`. Stages are processes; between them items are pickled, as mosec
does by default. The body reaches a worker as bytes, so `deserialize` parses the multipart form.

    MOSEC_PORT=8000 python -m benchmarks.peers.mosec_stages
"""

from __future__ import annotations

from typing import Any

import mosec
from python_multipart.multipart import MultipartParser, parse_options_header

from benchmarks.peers.common import Setup, make_forward, make_prepare


class Preprocess(mosec.Worker):
    """Form to item."""

    def __init__(self) -> None:
        self.prepare = make_prepare(Setup())

    def deserialize(self, data: bytes) -> dict[str, bytes]:
        """The parts of the form by name. Workers do not see headers; the body begins with the boundary."""
        return parse_form(data)

    def forward(self, data: dict[str, bytes]) -> Any:
        """One upload to one item."""
        return self.prepare(data["image"], data["text"].decode())


class Inference(mosec.Worker):
    """Items to answers, a batch at a time."""

    def __init__(self) -> None:
        self.run = make_forward(Setup())

    def forward(self, data: list[Any]) -> list[dict[str, Any]]:
        """One forward for the batch; mosec writes the answers as JSON."""
        return [{"predictions": answer} for answer in self.run(data)]


def parse_form(data: bytes) -> dict[str, bytes]:
    """A multipart form's parts by name."""
    parts: dict[str, bytes] = {}
    name, field, value, chunks = b"", b"", b"", []

    def header_field(buffer: bytes, start: int, end: int) -> None:
        nonlocal field
        field += buffer[start:end]

    def header_value(buffer: bytes, start: int, end: int) -> None:
        nonlocal value
        value += buffer[start:end]

    def header_end() -> None:
        nonlocal name, field, value
        if field.lower() == b"content-disposition":
            name = parse_options_header(value)[1][b"name"]
        field = value = b""

    def part_data(buffer: bytes, start: int, end: int) -> None:
        chunks.append(buffer[start:end])

    def part_end() -> None:
        parts[name.decode()] = b"".join(chunks)
        chunks.clear()

    parser = MultipartParser(
        data[2 : data.index(b"\r\n")],
        {
            "on_header_field": header_field,
            "on_header_value": header_value,
            "on_header_end": header_end,
            "on_part_data": part_data,
            "on_part_end": part_end,
        },
    )
    parser.write(data)
    return parts


if __name__ == "__main__":
    setup = Setup()
    server = mosec.Server()
    server.append_worker(Preprocess, num=setup.decoders, route="/predict")
    server.append_worker(
        Inference, num=setup.workers, max_batch_size=setup.batch, max_wait_time=int(setup.wait_ms), route="/predict"
    )
    server.run()
