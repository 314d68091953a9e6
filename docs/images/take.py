"""Takes the README's picture of the page from a running service, with a drawn example.

    python docs/images/take.py [URL]        # default http://127.0.0.1:8000; needs chromium, chromedriver, the extra dev

writes `docs/images/playground.png`. Take it again when the page or the shipped bundle has changed.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

OUT = Path(__file__).with_name("playground.png")
SAMPLE = "Brown handbag"
EXPLAINED = "articleType"
FLAGS = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars".split()


def take(address: str, profile: str) -> bytes:
    """The page with the sample's answers and why one of them is as it is, as a PNG of 1240 by 930 pixels."""
    options = Options()
    options.binary_location = shutil.which("chromium") or sys.exit("chromium is not installed")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    with webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"))) as browser:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 1240, "height": 930, "deviceScaleFactor": 1, "mobile": False},
        )
        browser.get(address)
        wait = WebDriverWait(browser, 60)
        sample = wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, f".sample[title='{SAMPLE}']"))[0]
        for _ in range(2):  # the second time, with everything warm
            sample.click()
            wait.until(lambda _: browser.find_element(By.ID, "answers").get_attribute("aria-busy") == "false")
        wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".card:not(.waiting)"))
        browser.find_element(By.CSS_SELECTOR, f"[data-task={EXPLAINED}] .why-foot > button").click()
        wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".why .words"))
        browser.execute_script("document.activeElement.blur()")
        return browser.get_screenshot_as_png()


def main() -> None:
    """Take the picture and store it as small as PNG gets."""
    address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    with tempfile.TemporaryDirectory() as profile:
        png = take(address, profile)
    Image.open(io.BytesIO(png)).convert("RGB").save(OUT, optimize=True)


if __name__ == "__main__":
    main()
