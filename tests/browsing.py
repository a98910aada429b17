"""A real Chromium without a window, and what is asked of every page: what it says, whom it asks, who can use it."""

import json
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains

SWITCHES = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
]


def start_browser(profile: Path) -> webdriver.Chrome:
    """Start Chromium; skips the test where there is none."""
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no Chromium with its chromedriver; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def press(page: webdriver.Chrome, *keys: str) -> None:
    """Press keys."""
    ActionChains(page).send_keys(*keys).perform()


def console(browser: webdriver.Chrome) -> list[dict[str, str]]:
    """Give what the console says since it was asked last."""
    return browser.get_log("browser")


def asked_for(browser: webdriver.Chrome) -> list[str]:
    """Give the addresses that the page asked for since this was asked last, without those that it holds itself."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if urlsplit(url).scheme not in {"data", "about", "chrome", "blob"}]


def axe_faults(page: webdriver.Chrome) -> list[str]:
    """Give the serious faults that axe-core finds; skips where CXR_EDGE_AXE names no copy of its axe.min.js."""
    path = os.environ.get("CXR_EDGE_AXE")
    if not path or not Path(path).is_file():
        pytest.skip("CXR_EDGE_AXE names no axe.min.js; npm pack axe-core holds one")
    page.execute_cdp_cmd("Runtime.evaluate", {"expression": Path(path).read_text("utf-8")})
    found = page.execute_async_script("const done = arguments[0]; axe.run().then((result) => done(result.violations))")
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]
