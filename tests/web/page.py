"""The page as one who uses it sees it: inputs, buttons, answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 20.0


class Page:
    """A driver with the page's own words."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self.browser = browser
        self.address = address

    def open(self, width: int, height: int) -> Page:
        """Load the page at a size and wait until its model is there."""
        self.browser.get_log("browser")  # what an earlier page said is not this page's
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.browser.get(self.address)
        self.until(lambda: self.all(".sample img") or self.shown("#problem") or self.shown("#access"))
        return self

    def one(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def shown(self, selector: str) -> bool:
        return self.one(selector).is_displayed()

    def until(self, condition: Callable[[], Any]) -> None:
        WebDriverWait(self.browser, PATIENCE).until(lambda _: condition())

    def choose(self, picture: Path) -> None:
        """Choose a picture file, as through the file dialog."""
        self.one("#input-image").send_keys(str(picture))

    def write(self, text: str) -> None:
        field = self.one("#input-text")
        field.clear()
        field.send_keys(text)

    def predict(self) -> None:
        """Press the button and wait for an answer or a problem."""
        self.one("#predict").click()
        self.settled()

    def settled(self) -> None:
        """Wait until no request is under way and something is shown for it."""
        self.until(
            lambda: (
                self.one("#answers").get_attribute("aria-busy") == "false"
                and (self.shown("#problem") or self.all(".card:not(.waiting)"))
            )
        )

    def why(self, task: str) -> str:
        """Open the explanation of a task's answer; everything that it then says, one space between words."""
        place = f"[data-task='{task}'] .why"
        self.one(f"[data-task='{task}'] .why-foot > button").click()
        self.until(lambda: self.shown(place) and "Taking" not in self.one(place).text)
        return " ".join(self.one(place).text.split())

    def cards(self) -> dict[str, str]:
        """Task -> everything that its card says, one space between words."""
        return {card.get_attribute("data-task") or "": " ".join(card.text.split()) for card in self.all(".card")}

    def used(self) -> list[str]:
        """The modalities as the answer says it used them."""
        return [" ".join(item.text.split()) for item in self.all("#used li")]

    def complaints(self) -> list[str]:
        """What the browser's console holds above information."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] != "INFO"]
