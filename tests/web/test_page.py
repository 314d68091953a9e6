"""The page in a real browser, against the real service: what a person does, and what they then see."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.app.api.harness import running
from tests.web.conftest import HOSTILE
from tests.web.page import Page

pytestmark = pytest.mark.browser

TEXT = "red cotton shirt"


def ask(address: str, picture: Path | None = None, text: str | None = None) -> httpx.Response:
    """The same request without a browser."""
    files: dict[str, tuple[str | None, bytes | str]] = {}
    if picture is not None:
        files["image"] = (picture.name, picture.read_bytes())
    if text is not None:
        files["text"] = (None, text)
    return httpx.post(f"{address}/predict", files=files)


def percent(share: float) -> str:
    value = share * 100
    return f"{value:.0f}%" if value >= 10 else f"{value:.1f}%"


def test_inputs_and_tasks_come_from_the_model(page: Page, address: str) -> None:
    model = httpx.get(f"{address}/models/tiny").json()
    assert [field.accessible_name for field in page.all("#inputs input, #inputs textarea")] == list(model["modalities"])
    assert list(page.cards()) == list(model["tasks"])
    assert page.cards()["colour"] == "colour one of 3"
    assert page.cards()["year"] == "year 2010 to 2013"
    assert not page.one("#predict").is_enabled(), "there is nothing to predict from yet"
    assert page.complaints() == []


def test_a_picture_and_its_text_give_every_task_s_answer(page: Page, address: str, pictures: Path) -> None:
    text = "blue cotton shirt"  # what another test had asked already would come from the cache, without stages
    page.choose(pictures / "shoe.jpg")
    page.write(text)
    page.predict()
    expected = ask(address, pictures / "shoe.jpg", text).json()["predictions"]
    cards = page.cards()
    assert list(cards) == list(expected)
    for kind in ("colour", "sporty"):
        assert cards[kind].startswith(f"{kind} {expected[kind]['label']} {percent(expected[kind]['confidence'])}")
    for entry in expected["colour"]["top"]:
        assert f"{entry['label']} {percent(entry['confidence'])}" in cards["colour"]
    low, high = expected["year"]["interval"]
    assert cards["year"].startswith(f"year {expected['year']['value']} {percent(expected['year']['confidence'])}")
    assert (f"{low} to {high}" if low != high else f"only {low}") in cards["year"]
    for label, confidence in expected["audience"]["confidences"].items():
        sign = "✓" if label in expected["audience"]["labels"] else "–"
        assert f"{sign} " in cards["audience"]
        assert f"{label} {percent(confidence)}" in cards["audience"]
    assert cards["price"].split()[1] == f"{expected['price']['value']:.4g}"
    assert page.used() == ["image used", "text used"]
    assert "ms in the service" in page.one("#timing").text
    for stage in ("intake", "queue", "run"):
        assert stage in page.one("#timing .legend").text
    assert expected["colour"]["label"] in (page.one("#status").get_attribute("textContent") or "")
    assert page.complaints() == []


def test_bars_are_as_long_as_confidences(page: Page, address: str, pictures: Path) -> None:
    page.choose(pictures / "watch.jpg")
    page.predict()
    expected = ask(address, pictures / "watch.jpg").json()["predictions"]["colour"]["top"]
    tracks = page.all("[data-task=colour] .track")
    for entry, track in zip(expected, tracks, strict=True):
        fill = track.find_element("css selector", ".fill")
        assert fill.size["width"] / track.size["width"] == pytest.approx(entry["confidence"], abs=0.02)


def test_one_modality_is_enough_and_removing_one_counts(page: Page, address: str, pictures: Path) -> None:
    page.choose(pictures / "dress.jpg")
    page.write(TEXT)
    page.one(".remove").click()
    page.predict()
    assert page.used() == ["image not given", "text used"]
    label = ask(address, text=TEXT).json()["predictions"]["colour"]["label"]
    assert page.cards()["colour"].startswith(f"colour {label} ")


def test_a_text_that_was_cut_is_said_to_be(page: Page) -> None:
    page.write("winter " * 60)
    page.predict()
    assert page.used() == ["image not given", "text used, cut to its first part"]


def test_only_the_tasks_that_are_checked_are_answered(page: Page) -> None:
    page.write(TEXT)
    page.one("#task-filter summary").click()
    page.one("#tasks-none").click()
    assert not page.one("#predict").is_enabled(), "no task is left to answer"
    for task in ("year", "colour"):
        page.one(f"#tasks input[value={task}]").click()
    assert page.one("#task-count").text == "2 of 5"
    page.predict()
    assert sorted(page.cards()) == ["colour", "year"]


def test_a_sample_fills_the_form_and_asks(page: Page) -> None:
    page.one(".sample").click()
    page.settled()
    assert page.shown(".preview")
    assert page.one("#input-text").get_attribute("value")
    assert [used.split(",")[0] for used in page.used()] == ["image used", "text used"]
    assert page.complaints() == []


@pytest.mark.parametrize(
    "event",
    [
        "new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true})",
        "new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true})",
    ],
    ids=["drop", "paste"],
)
def test_a_picture_may_be_dropped_or_pasted(page: Page, browser: webdriver.Chrome, event: str) -> None:
    default_prevented = browser.execute_async_script(
        f"""
        const done = arguments[0];
        fetch('/static/samples/watch.jpg').then((response) => response.blob()).then((blob) => {{
          const transfer = new DataTransfer();
          transfer.items.add(new File([blob], 'mine.jpg', {{type: blob.type}}));
          const event = {event};
          document.querySelector('.zone').dispatchEvent(event);
          done(event.defaultPrevented);
        }});
        """
    )
    assert default_prevented, "the browser must not open the picture in the page's place"
    assert page.one(".caption").text.startswith("mine.jpg")
    page.predict()
    assert page.used() == ["image used", "text not given"]


def test_a_refusal_is_shown_in_the_service_s_words_and_goes_away(page: Page, address: str, tmp_path: Path) -> None:
    picture = tmp_path / "scan.tiff"
    Image.new("RGB", (8, 8)).save(picture)
    page.choose(picture)
    page.predict()
    refusal = ask(address, picture)
    said = page.one("#problem").text
    assert refusal.status_code == 415
    assert refusal.json()["title"] in said
    assert refusal.json()["detail"] in said
    assert "Status 415" in said
    assert page.one("#problem code").text, "the request id stands there for those who look into the log"
    assert page.cards() == {}
    page.one(".remove").click()
    page.write(TEXT)
    page.predict()
    assert not page.shown("#problem")
    assert len(page.cards()) == 5


def test_a_service_that_is_gone_is_said_and_can_be_tried_again(page: Page, browser: webdriver.Chrome) -> None:
    page.write(TEXT)
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    try:
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **offline})
        page.predict()
        assert "cannot be reached" in page.one("#problem").text
    finally:
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **offline})
    page.one("#problem button").click()
    page.until(lambda: page.all(".card.ordinal"))
    assert not page.shown("#problem")


def test_a_service_that_is_still_loading_is_waited_for(browser: webdriver.Chrome, tiny: Path) -> None:
    with running(tiny, wait=False) as service:
        page = Page(browser, service.url).open(1280, 900)
        assert "still starting" in page.one("#problem").text
        service.may_load.set()
        page.until(lambda: len(page.cards()) == 5)
        assert not page.shown("#problem")
        browser.get("about:blank")


def test_the_keyboard_is_enough(page: Page, browser: webdriver.Chrome) -> None:
    reached = []
    while len(reached) < 8:
        ActionChains(browser).send_keys(Keys.TAB).perform()
        focused = browser.switch_to.active_element
        outline = browser.execute_script(
            "const shown = arguments[0].matches('input[type=file]') ? arguments[0].nextElementSibling : arguments[0];"
            "return getComputedStyle(shown).outlineStyle",
            focused,
        )
        assert outline != "none", f"{focused.accessible_name or focused.tag_name} does not show its focus"
        reached.append(focused.accessible_name)
    assert reached[0] == "Skip to the answers"
    assert {"image", "text"} < set(reached)
    page.one("#input-text").send_keys(TEXT, Keys.CONTROL, Keys.ENTER)
    page.settled()
    assert len(page.cards()) == 5


def test_names_of_tasks_and_labels_never_become_markup(page: Page, browser: webdriver.Chrome) -> None:
    page.one("#model-name").find_elements("css selector", "option")[1].click()
    page.until(lambda: HOSTILE in page.cards())
    page.one("#inputs textarea").send_keys(TEXT)
    page.predict()
    assert f"{HOSTILE} a" in page.cards()[HOSTILE]
    assert page.used() == ["<b>note</b> used"]
    assert page.all("#inputs b, #inputs img, .card img, #used img, #tasks img") == []
    assert browser.title == "Trunkline"
    assert page.complaints() == []


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_narrow_screen_shows_everything_without_scrolling_sideways(
    browser: webdriver.Chrome, address: str, pictures: Path, width: int
) -> None:
    page = Page(browser, address).open(width, 720)
    page.choose(pictures / "handbag.jpg")
    page.write("a-very-long-word-without-any-place-to-break-" * 4)
    page.predict()
    visible, whole = browser.execute_script(
        "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert whole <= visible
    page.until(
        lambda: browser.execute_script("return document.querySelector('#answers').getBoundingClientRect().top < 500")
    )
    assert page.complaints() == []


def test_a_model_without_pictures_offers_no_samples(page: Page) -> None:
    page.one("#model-name").find_elements("css selector", "option")[1].click()
    page.until(lambda: HOSTILE in page.cards())
    page.until(lambda: not page.shown("#samples"))
    assert page.all("#inputs input[type=file]") == []
