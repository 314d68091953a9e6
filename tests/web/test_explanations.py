"""Why an answer is as it is, on the page: what each input gave, where in the picture and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from selenium import webdriver

from model.bundle import load_bundle
from tests.app.api.harness import running
from tests.support.familiar import made_split, make_familiar_bundle
from tests.web.page import Page

pytestmark = pytest.mark.browser

TEXT = "red cotton shirt"


def explained(address: str, picture: Path, text: str | None = None) -> dict[str, Any]:
    """Task -> its explanation, asked for without a browser."""
    files: dict[str, tuple[str | None, bytes | str]] = {"image": (picture.name, picture.read_bytes())}
    files |= {"explain": (None, "full")} | ({"text": (None, text)} if text is not None else {})
    answer = httpx.post(f"{address}/predict", files=files).json()
    return {task: prediction["explanation"] for task, prediction in answer["predictions"].items()}


def points(value: float) -> str:
    size = abs(value * 100)
    told = "0" if size < 0.05 else f"{size:.1f}" if size < 10 else f"{size:.0f}"
    return f"{told if told == '0' else ('−' if value < 0 else '+') + told} points"


def test_each_input_s_contribution_stands_below_the_answer(page: Page, address: str, pictures: Path) -> None:
    page.choose(pictures / "shoe.jpg")
    page.write(TEXT)
    page.predict()
    said = page.why("colour")
    told = explained(address, pictures / "shoe.jpg", TEXT)["colour"]
    assert said.startswith(f"without any input {told['base'] * 100:.0f}% ")
    for name, value in told["shapley"].items():
        assert f"{name} {points(value)}" in said
    for part in told["parts"]["text"]:
        assert f"{part['word']} ({points(part['weight'])})" in said
    assert page.complaints() == []


def test_the_heat_map_lies_on_the_picture_as_the_network_sees_it(
    page: Page, browser: webdriver.Chrome, address: str, tmp_path: Path
) -> None:
    wide = tmp_path / "wide.png"
    Image.new("RGB", (120, 40), (200, 30, 30)).save(wide)
    page.choose(wide)
    page.predict()
    page.why("colour")
    rows = explained(address, wide)["colour"]["parts"]["image"]
    heat = page.one("[data-task=colour] .heat")
    model = httpx.get(f"{address}/models/tiny").json()["modalities"]["image"]
    assert model["fit"] == "pad"
    assert heat.size["width"] / heat.size["height"] == pytest.approx(model["width"] / model["height"], rel=0.03)
    assert heat.find_element("css selector", "img").value_of_css_property("object-fit") == "contain"
    cells = heat.find_elements("css selector", ".cells span")
    assert [cell.get_attribute("title") for cell in cells] == [points(value) for row in rows for value in row]
    assert len({cell.location["x"] for cell in cells}) == len(rows[0])
    assert len({cell.location["y"] for cell in cells}) == len(rows)
    largest = max(abs(value) for row in rows for value in row)
    shades = browser.execute_script("return arguments[0].map((c) => Number(c.style.getPropertyValue('--much')))", cells)
    assert shades == pytest.approx([abs(value) / largest for row in rows for value in row], abs=1e-3)


def test_one_request_explains_every_answer(page: Page, browser: webdriver.Chrome, pictures: Path) -> None:
    page.choose(pictures / "dress.jpg")
    page.write(TEXT)
    page.predict()
    assert "points" in page.why("year")
    asked = "return performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/predict')).length"
    before = browser.execute_script(asked)
    assert "without any input" in page.why("price")
    assert "points" not in page.one("[data-task=price] .gave").text, "a value in its own unit"
    assert browser.execute_script(asked) == before
    page.one("[data-task=price] .why-foot > button").click()
    assert not page.shown("[data-task=price] .why"), "pressed again, it closes"


def test_each_label_of_several_has_an_explanation_of_its_own(page: Page, address: str, pictures: Path) -> None:
    page.choose(pictures / "dress.jpg")
    page.write(TEXT)
    page.predict()
    page.why("audience")
    told = explained(address, pictures / "dress.jpg", TEXT)["audience"]
    for option in page.all("[data-task=audience] .why option"):
        option.click()
        label = option.text
        said = " ".join(page.one("[data-task=audience] .gave").text.split())
        assert f"text {points(told['shapley'][label]['text'])}" in said


def test_what_was_asked_is_explained_not_what_the_form_says_by_then(page: Page, address: str, pictures: Path) -> None:
    page.choose(pictures / "shoe.jpg")
    page.write(TEXT)
    page.predict()
    page.write("something else")
    said = page.why("colour")
    assert "cotton" in said
    assert "something" not in said


def test_a_refusal_stands_where_the_explanation_would_and_can_be_tried_again(
    page: Page, browser: webdriver.Chrome
) -> None:
    page.write(TEXT)
    page.predict()
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    try:
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **offline})
        assert "Check that it is running" in page.why("colour")
    finally:
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **offline})
    assert page.cards()["year"], "the answers stay"
    page.one("[data-task=colour] .why button").click()
    page.until(lambda: "points" in page.one("[data-task=colour] .why").text)


def test_a_service_without_full_explanations_tells_the_contributions(
    browser: webdriver.Chrome, tiny: Path, pictures: Path
) -> None:
    with running(tiny, max_explanations=0) as service:
        page = Page(browser, service.url).open(1280, 900)
        page.choose(pictures / "shoe.jpg")
        page.write(TEXT)
        page.predict()
        assert "text" in page.why("colour")
        assert page.all(".gave .track")
        assert page.all(".heat, .words") == []
        browser.get("about:blank")


def test_words_of_a_text_never_become_markup(page: Page, browser: webdriver.Chrome) -> None:
    page.write("<b>shoe <img src=x>")
    page.predict()
    said = page.why("colour")
    assert "<b>shoe" in said
    assert "src=x>" in said
    assert page.all(".why img, .why b") == []
    assert browser.title == "Trunkline"
    assert page.complaints() == []


def test_an_input_unlike_the_training_data_is_said_to_be(browser: webdriver.Chrome, tmp_path: Path) -> None:
    folder = make_familiar_bundle(tmp_path / "familiar")
    config = load_bundle(folder).config
    pictures = {
        "ordinary": made_split(config, 1, seed=3).images["image"][0],
        "noise": np.random.default_rng(0).integers(0, 256, (160, 120, 3), dtype=np.uint8),
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    with running(folder) as service:
        page = Page(browser, service.url).open(1280, 900)
        page.choose(tmp_path / "ordinary.png")
        page.predict()
        assert page.used()[0] == "image used"
        page.choose(tmp_path / "noise.png")
        page.predict()
        page.until(lambda: page.used()[0] == "image used, unlike what the model was trained on")
        browser.get("about:blank")
