"""The docs say what the code does: settings, errors, configs, links."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from app.api.problems import KINDS
from app.api.schemas import Prediction
from app.serving.types import Options
from app.settings import Settings
from model.config import TaskKind, parse_config

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")])


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of the table below a header line."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start = lines.index(header) + 2
    end = next(number for number in range(start, len(lines) + 1) if not "".join(lines[number : number + 1]).strip())
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[start:end]]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_every_setting_stands_in_the_table_with_its_default_and_meaning() -> None:
    documented = rows("docs/configuration.md", "| flag | environment | default | meaning |")
    names = [flag.strip("`").removeprefix("--").replace("-", "_") for flag, *_ in documented]
    assert names == list(Settings.model_fields)
    for name, (_, environment, default, meaning) in zip(names, documented, strict=True):
        field = Settings.model_fields[name]
        assert environment == f"`TRUNKLINE_{name.upper()}`"
        assert meaning == field.description
        if field.default is None:
            assert default == "unset"
        elif default == "none":
            assert field.default == ()
        elif name == "bundles":
            assert [ROOT / default] == list(field.default)
        else:
            assert getattr(Settings(_env_file=None, **{name: default}), name) == field.default


def test_every_error_stands_in_the_table_with_its_status() -> None:
    documented = {
        (int(status), slug.strip("`")) for status, slug, _ in rows("docs/http.md", "| status | slug | when |")
    }
    assert documented == {(kind.status, error.code) for error, kind in KINDS.items()}


def test_every_error_that_says_when_to_retry_is_told_to() -> None:
    said = {
        slug.strip("`") for _, slug, when in rows("docs/http.md", "| status | slug | when |") if "`Retry-After`" in when
    }
    assert said == {error.code for error, kind in KINDS.items() if kind.retry_after is not None}


def test_every_option_stands_in_the_table() -> None:
    documented = [option.strip("`") for option, *_ in rows("docs/http.md", "| option | meaning | default |")]
    assert sorted(documented) == sorted([*Options.__dataclass_fields__, "model"])


def test_every_kind_of_task_is_explained() -> None:
    kinds = set(TypeAdapter(TaskKind).json_schema()["enum"])
    assert {kind.strip("`") for kind, _ in rows("docs/http.md", "| kind | members |")} == kinds
    assert {kind for kind, *_ in rows("docs/network.md", "| kind | g | answer |")} == kinds


def test_the_answer_shown_is_one_that_the_schema_allows() -> None:
    (shown,) = blocks(ROOT / "docs" / "http.md", "json")
    assert Prediction.model_validate(json.loads(shown)).predictions["year"].kind == "ordinal"


@pytest.mark.parametrize("text", blocks(ROOT / "docs" / "training.md", "yaml"))
def test_a_config_in_the_docs_is_valid(text: str) -> None:
    assert parse_config(yaml.safe_load(text)).name == "furniture"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target.split("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths in backquotes that begin with a room of the repository."""
    rooms = "app|model|configs|docs|examples|tests|deploy"
    for path in re.findall(rf"`((?:{rooms})/[\w./-]*)`", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path
