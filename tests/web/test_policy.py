"""Both pages under their content security policy, in a real browser: nothing is blocked, and what is foreign is."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from app.access.file import add_key, revoke_key
from app.access.keys import make_key
from tests.app.api.harness import running
from tests.web.page import PATIENCE, Page

pytestmark = pytest.mark.browser

TEXT = "red cotton shirt"
MAKE_SCRIPT = "const made = document.createElement('script');"


def attempts(browser: webdriver.Chrome, code: str) -> str:
    """The policy's directive that forbids what `code` attempts; fails where nothing does."""
    directive = browser.execute_async_script(
        f"""
        const done = arguments[0];
        document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective), {{once: true}});
        setTimeout(() => done("allowed"), 3000);
        try {{ {code} }} catch {{}}
        """
    )
    assert isinstance(directive, str)
    return directive


def test_the_page_does_all_it_can_without_a_violation(page: Page, pictures: Path) -> None:
    page.choose(pictures / "shoe.jpg")
    page.write(TEXT)
    page.predict()
    assert page.shown(".preview")
    page.why("colour")
    assert page.shown("[data-task=colour] .heat img")
    page.one(".sample").click()
    page.settled()
    page.one("#task-filter summary").click()
    assert page.complaints() == []


@pytest.mark.parametrize(
    ("code", "directive"),
    [
        (f"{MAKE_SCRIPT} made.src = 'http://127.0.0.1:9/x.js'; document.head.append(made)", "script-src-elem"),
        (f"{MAKE_SCRIPT} made.text = 'document.title = 1'; document.head.append(made)", "script-src-elem"),
        ("const s = document.createElement('style'); s.append('body{}'); document.head.append(s)", "style-src-elem"),
        ("document.body.setAttribute('style', 'color: red')", "style-src-attr"),
        ("fetch('http://127.0.0.1:9/').catch(() => 0)", "connect-src"),
        ("const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'", "img-src"),
        ("const f = document.createElement('iframe'); f.src = '/'; document.body.append(f)", "frame-src"),
        ("document.body.innerHTML = '<p>x</p>'", "require-trusted-types-for"),
    ],
)  # fmt: skip
def test_what_an_injected_script_would_do_is_forbidden(
    page: Page, browser: webdriver.Chrome, code: str, directive: str
) -> None:
    assert attempts(browser, code) in (directive, "require-trusted-types-for")


def test_the_page_cannot_be_framed(browser: webdriver.Chrome, address: str, tmp_path: Path) -> None:
    frame = f'<!doctype html><title>other</title><iframe src="{address}/"></iframe>'
    browser.get("data:text/html;base64," + base64.b64encode(frame.encode()).decode())
    browser.switch_to.frame(0)
    try:
        assert browser.find_elements(By.CSS_SELECTOR, "#form") == []
    finally:
        browser.switch_to.default_content()
        browser.get("about:blank")
        browser.get_log("browser")


def test_docs_work_without_a_violation(browser: webdriver.Chrome, address: str) -> None:
    browser.get_log("browser")
    browser.get(f"{address}/docs")
    wait = WebDriverWait(browser, PATIENCE)
    wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, "#operations-health-live_health_live_get"))
    browser.find_element(By.CSS_SELECTOR, "#operations-health-live_health_live_get .opblock-summary-control").click()
    wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".try-out__btn"))[0].click()
    wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".execute"))[0].click()
    wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".live-responses-table .response .microlight"))
    assert '"live"' in browser.find_element(By.CSS_SELECTOR, ".live-responses-table").text
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def key(keys: Path) -> str:
    text, key = make_key("browser", (), ["predict"], None, None)
    add_key(keys, key)
    return text


@pytest.fixture(scope="module")
def guarded(tiny: Path, keys: Path, key: str) -> Iterator[str]:
    with running(tiny, keys=keys, wait=False) as service:
        service.may_load.set()
        service.wait()
        yield service.url


def enter(page: Page, key: str) -> None:
    page.one("#key").send_keys(key)
    page.one("#access button").click()


def test_the_page_asks_for_a_key_where_one_is_needed(browser: webdriver.Chrome, guarded: str, key: str) -> None:
    page = Page(browser, guarded).open(1280, 900)
    assert page.shown("#access")
    assert not page.shown("#problem")
    assert browser.switch_to.active_element.accessible_name == "Key"
    enter(page, "tl_000_wrong\u2713")
    page.until(lambda: page.shown("#problem"))
    assert "not valid" in page.one("#problem").text
    assert page.shown("#access")
    enter(page, key)
    page.until(lambda: page.all(".sample img"))
    assert not page.shown("#access")
    assert not page.shown("#problem")
    assert not page.shown("#metrics")
    page.write(TEXT)
    page.predict()
    assert len(page.cards()) == 5
    page.open(1280, 900)
    assert not page.shown("#access"), "the tab knows the key still"
    page.one("#forget-key").click()
    page.until(lambda: page.all("#access") and page.shown("#access"))


def test_a_key_that_is_revoked_meanwhile_is_asked_for_again(
    browser: webdriver.Chrome, guarded: str, key: str, keys: Path
) -> None:
    page = Page(browser, guarded).open(1280, 900)
    enter(page, key)
    page.until(lambda: page.all(".sample img"))
    page.write(TEXT)
    page.predict()
    revoke_key(keys, "browser")

    def refused() -> bool:
        page.predict()
        return page.shown("#access")

    page.until(refused)
    assert "may have been revoked" in page.one("#problem").text
    text, key_again = make_key("again", (), ["predict"], None, None)
    add_key(keys, key_again)

    def let_in() -> bool:
        if page.shown("#access"):
            enter(page, text)
        page.settled()
        return len(page.cards()) == 5

    page.until(let_in)
    browser.execute_script("sessionStorage.clear()")


def test_docs_tell_of_the_models_once_there_is_a_key(browser: webdriver.Chrome, guarded: str, keys: Path) -> None:
    text, key = make_key("docs", {"000"}, ["predict"], None, None)
    add_key(keys, key)
    browser.get_log("browser")
    browser.get(f"{guarded}/docs")
    wait = WebDriverWait(browser, PATIENCE)

    def find(selector: str) -> list[webdriver.remote.webelement.WebElement]:
        return browser.find_elements(By.CSS_SELECTOR, selector)

    wait.until(lambda _: find(".authorize"))[0].click()
    wait.until(lambda _: find(".auth-container input"))[0].send_keys(text)
    find(".auth-btn-wrapper .authorize")[0].click()
    find(".auth-btn-wrapper .btn-done")[0].click()
    find("#operations-predict-predict_predict_post .opblock-summary-control")[0].click()
    wait.until(lambda _: "a picture: JPEG" in find("#operations-predict-predict_predict_post")[0].text)
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
