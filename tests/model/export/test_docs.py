"""The example of docs/export.md, run as it stands, gives the predictor's answers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from model.golden import prepare
from tests.model.export.conftest import Exported

ROOT = Path(__file__).parents[3]
PICTURE = "examples/pictures/shoe.jpg"


def test_the_example_answers_without_anything_of_this_project(plain: Exported, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shutil.copy(plain.file, tmp_path / "fashion.onnx")
    (tmp_path / PICTURE).parent.mkdir(parents=True)
    shutil.copy(ROOT / PICTURE, tmp_path / PICTURE)
    # None in sys.modules makes an import of that name fail.
    before = "import sys\nfor name in ('torch', 'model', 'app', 'onnx'):\n    sys.modules[name] = None\n"
    after = "print(json.dumps([answer.tolist() for answer in answers]))\n"
    done = subprocess.run(
        [sys.executable, "-c", before + example + after], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *lines, answers = done.stdout.splitlines()

    title = "Men White and Blue Sports Shoes"
    assert f'"{title}"' in example
    bundle = plain.bundle
    item = prepare({"image": (ROOT / PICTURE).read_bytes(), "text": title}, bundle.config, bundle.tokenizers)
    expected = plain.predictor([item]).probabilities
    for found, (name, probabilities) in zip(json.loads(answers), expected.items(), strict=True):
        np.testing.assert_allclose(found, probabilities, atol=1e-4, err_msg=name)
    assert [line.split()[0] for line in lines] == list(bundle.config.tasks)
    colour = expected["colour"][0]
    assert lines[0].startswith(f"colour {bundle.config.tasks['colour'].labels[colour.argmax()]} ")
