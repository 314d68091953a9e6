"""A live service and a browser for the tests of the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.support.tiny import make_tiny_bundle, tiny_config, tiny_document
from tests.web.live import service
from tests.web.page import Page

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
# Names that would run as script if the page ever took them for markup.
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with two models: the tiny one, and one whose names are hostile."""
    folder = tmp_path_factory.mktemp("bundles")
    document = tiny_document(name="hostile")
    document["tasks"] = {HOSTILE: {"kind": "multiclass", "labels": [f"{HOSTILE} a", f"{HOSTILE} b"]}}
    document["modalities"] = {"<b>note</b>": document["modalities"]["text"]}
    bundles = [
        make_tiny_bundle(folder / "tiny"),
        make_tiny_bundle(folder / "hostile", config=tiny_config(**document)),
    ]
    with service(*bundles) as url:
        yield url


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
