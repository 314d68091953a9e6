"""A live service and a browser for the tests of the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.app.api.harness import running
from tests.support.tiny import make_tiny_bundle, tiny_config, tiny_document
from tests.web.page import Page

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
# Names that would run as script if the page ever took them for markup.
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle with random weights and a task of every kind."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def address(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with two models: the tiny one, and one whose names are hostile."""
    document = tiny_document(name="hostile")
    document["tasks"] = {HOSTILE: {"kind": "multiclass", "labels": [f"{HOSTILE} a", f"{HOSTILE} b"]}}
    document["modalities"] = {"<b>note</b>": document["modalities"]["text"]}
    hostile = make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "hostile", config=tiny_config(**document))
    with running(tiny, hostile) as service:
        yield service.url


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Headless Chromium with a profile of its own."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "chromium is not installed"
    assert driver, "chromedriver is not installed"
    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, address: str) -> Page:
    """The page, freshly opened on a wide screen."""
    return Page(browser, address).open(1280, 900)


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The folder of the drawn example pictures."""
    return Path(__file__).parents[2] / "examples" / "pictures"
