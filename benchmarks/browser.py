"""A fresh Chromium without a window, for the benchmarks of pages."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from selenium import webdriver

SWITCHES = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --window-size=1600,1000"
)


@contextmanager
def fresh_chrome() -> Iterator[webdriver.Chrome]:
    """One with a profile of its own, which goes with it."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for switch in (*SWITCHES.split(), f"--user-data-dir={profile}"):
            options.add_argument(switch)
        with webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))) as chrome:
            yield chrome
