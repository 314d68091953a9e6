"""Intake under a coverage-guided fuzzer: python -m tests.hostile.fuzz_target TARGET BUNDLE FOLDER [libFuzzer's options]

In a process of its own, for a decoder that crashes takes its process along, and one that hangs never returns. FOLDER
has the inputs to begin with, and gets those that reached something new; what did harm goes to -artifact_prefix.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["PIL", "app.api", "app.intake", "model.preprocess", "python_multipart"]):
    import numpy as np
    import orjson

    from app.api.asked import asked_in_json, asked_in_parts
    from app.api.body import MAX_PARTS, OPTION_BYTES, PartLimits, _Collector
    from app.api.json_body import parse
    from app.api.split import Part, split
    from app.errors import ServiceError
    from app.intake import Limits, prepare
    from app.intake.image import decode, sniff
    from model.bundle import load_bundle
    from model.config import Config, ImageModality
    from model.preprocess import TextTokenizer

LIMITS = Limits(max_pixels=1_000_000)
SIZES = {"image": 3000, "text": 1000}


class Targets:
    """What is fuzzed, by name. Each takes any bytes, and raises only where something is wrong."""

    def __init__(self, config: Config, tokenizers: dict[str, TextTokenizer]) -> None:
        self.config = config
        self.tokenizers = tokenizers
        modality = config.modalities["image"]
        assert isinstance(modality, ImageModality)
        self.modality = modality

    def picture(self, data: bytes) -> None:
        """Any file is a picture of the right shape, or refused."""
        data = with_checksums(data) if sniff(data) == "PNG" else data
        try:
            found = decode(data, "image", self.modality, LIMITS)
        except ServiceError as error:
            told(error)
            return
        assert found.shape == (self.modality.height, self.modality.width, 3)
        assert found.dtype == np.uint8

    def form(self, data: bytes) -> None:
        """Any body is refused or read, and the shorter way to read it is not another one."""
        short = split(data, b"b", SIZES, OPTION_BYTES, MAX_PARTS)
        try:
            parts = collected(data)
        except ServiceError as error:
            assert short is None
            told(error)
            return
        assert short is None or short == parts
        try:
            asked_in_parts(parts, None, self.config)
        except ServiceError as error:
            told(error)

    def json(self, data: bytes) -> None:
        """Any document is refused or read."""
        try:
            asked_in_json(parse(data), None, self.config, 1000)
        except ServiceError as error:
            told(error)

    def text(self, data: bytes) -> None:
        """Any text is missing or a row of tokens."""
        text = data.decode("utf-8", "surrogateescape")
        try:
            prepared = prepare({"text": text}, self.config, self.tokenizers, LIMITS)
        except ServiceError as error:
            told(error)
            return
        ids = prepared.item["text"]
        assert ids.ndim == 1
        assert 1 <= len(ids) <= self.config.modalities["text"].max_tokens
        assert 0 <= ids.min() <= ids.max() < self.tokenizers["text"].vocab_size


def collected(data: bytes) -> list[Part]:
    collector = _Collector("multipart/form-data; boundary=b", PartLimits(SIZES))
    for start in range(0, len(data), 97):
        collector.feed(data[start : start + 97])
    return collector.finish()


def told(error: ServiceError) -> None:
    """A refusal can be told as JSON, and is short."""
    assert len(orjson.dumps(error.detail)) < 1000


def with_checksums(data: bytes) -> bytes:
    """A PNG file as it is, but with right checksums: else nothing that was changed would get past the first one."""
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(data):
            break
        kept.append(data[at:end] + struct.pack(">I", zlib.crc32(data[at + 4 : end])))
        at = end + 4
    return b"".join([*kept, data[at:]])


def main() -> None:
    name, bundle, folder, *options = sys.argv[1:]
    loaded = load_bundle(Path(bundle))
    target: Callable[[bytes], None] = getattr(Targets(loaded.config, dict(loaded.tokenizers)), name)
    atheris.Setup([sys.argv[0], *options, folder], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
