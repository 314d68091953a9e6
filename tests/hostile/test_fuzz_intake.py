"""A coverage-guided fuzzer looks for files, forms, documents and texts that crash intake, hang it or fill memory.

At full length, the targets share ten minutes. What is found is kept in `corpus`, where every later run sends it, too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile import pictures
from tests.hostile.corpus import FOLDER
from tests.hostile.wire import form, part

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python"),
]
ROOT = Path(__file__).parents[2]
SHORT, FULL = 80, 600  # seconds over all targets
MEGABYTES, SECONDS = 1024, 10  # that one input may take, the interpreter included
LONGEST = 8192
STARTING = 120  # seconds in which a fuzzer has begun and ended

FORMS = (
    form(part("text", b"red shirt")),
    form(part("image", b"\x89PNG", '; filename="a.png"\r\nContent-Type: image/png'), part("tasks", b"colour,year")),
    b"--b\r\nContent-Disposition: form-data; name=text\r\n\r\nred\r\n--bX\r\n--b \r\n\r\n--b--",
)
DOCUMENTS = (
    b'{"text": "red", "image": "iVBORw0KGgo=", "top_k": 3, "coverage": 0.9, "explain": true, "tasks": ["colour"]}',
    b'{"text": "\\ud800 \\"x\\\\", "text": null, "model": "tiny", "tasks": "a,b", "coverage": 1e400}',
)
TEXTS = ("red shirt", "e\u0301\u0316\u0344 \ufdfa \u202e\u200b", "👩\u200d👧 ｶﾞ ① [PAD]", "\u0f73\u0f71\uff9e\0\x85")


def pictures_of(kind: str) -> list[bytes]:
    return [
        pictures.good(kind),
        *dict(pictures.flipped(kind, 6)).values(),
        *list(dict(pictures.cut(kind)).values())[4:],
    ]


TARGETS: dict[str, tuple[str, Callable[[], list[bytes]]]] = {
    **{kind: ("picture", lambda kind=kind: pictures_of(kind)) for kind in pictures.KINDS},
    "form": ("form", lambda: list(FORMS)),
    "JSON": ("json", lambda: list(DOCUMENTS)),
    "text": ("text", lambda: [text.encode() for text in TEXTS]),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_fuzzer_finds_nothing_that_crashes_or_hangs_intake(
    name: str, tiny: Path, tmp_path: Path, full_length: bool, record_property: Callable[[str, object], None]
) -> None:
    target, seeds = TARGETS[name]
    inputs, found = tmp_path / "inputs", tmp_path / "found"
    inputs.mkdir()
    found.mkdir()
    known = [path.read_bytes() for path in FOLDER.glob(f"{target}-*")]
    for data in (*seeds(), *known):
        (inputs / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    seconds = (FULL if full_length else SHORT) // len(TARGETS)
    options = [
        f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}",
        f"-artifact_prefix={found}/", "-print_final_stats=1", "-seed=1",
    ]  # fmt: skip
    # A child of this process would begin with the memory this one once held as its own peak, which is what the fuzzer
    # holds to its limit; a grandchild does not.
    run = subprocess.run(
        ["timeout", "--kill-after=5", str(seconds + STARTING)]
        + [sys.executable, "-m", "tests.hostile.fuzz_target", target, str(tiny), str(inputs), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
    )
    for path in found.iterdir():
        shutil.copy(path, FOLDER / f"{target}-{path.name[:24]}")
    assert run.returncode == 0, run.stderr[-4000:]
    assert not list(found.iterdir()), run.stderr[-4000:]
    executed = re.search(r"number_of_executed_units: (\d+)", run.stderr)
    assert executed
    assert int(executed[1]) > 100, "the fuzzer did not get going"
    record_property("inputs", int(executed[1]))
