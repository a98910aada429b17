"""What the tests of the report page and of the local page share."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real Chromium without a window."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    from browsing import asked_for, console, start_browser

    with start_browser(tmp_path_factory.mktemp("profile")) as chrome:
        chrome.get("about:blank")
        console(chrome), asked_for(chrome)  # what the browser did of its own accord when it started
        yield chrome
