"""The report in a real browser, without a window."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cxr_edge.report import write_reports

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no Chromium with its chromedriver; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as chrome:
        yield chrome


@pytest.fixture
def page(browser: webdriver.Chrome, scanned: Path) -> Iterator[webdriver.Chrome]:
    """The report, opened; at the end the console must be empty and nobody else must have been asked for anything."""
    write_reports(scanned, formats=["html"])
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)  # what the browser did of its own accord when it started
    browser.get((scanned / "report.html").as_uri())
    yield browser
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked
    own = scanned.as_uri()
    assert [url for url in asked if urlsplit(url).scheme != "data" and not url.startswith(own)] == []


def names(page: webdriver.Chrome) -> list[str]:
    """The listed files in their order, which is not that of the elements."""
    cards = page.find_elements(By.CSS_SELECTOR, ".card")
    cards.sort(key=lambda card: int(card.get_attribute("aria-posinset")))
    return [card.find_element(By.CSS_SELECTOR, ".name").text for card in cards]


def press(page: webdriver.Chrome, *keys: str) -> None:
    ActionChains(page).send_keys(*keys).perform()


def show(page: webdriver.Chrome, word: str) -> None:
    (button,) = [each for each in page.find_elements(By.CSS_SELECTOR, "#show button") if word in each.text]
    button.click()


def type_into(page: webdriver.Chrome, name: str, text: str) -> None:
    page.find_element(By.ID, name).clear()
    page.find_element(By.ID, name).send_keys(text)


def test_summary_counts(page: webdriver.Chrome) -> None:
    text = page.find_element(By.ID, "summary").text
    for said in (
        "4 PNEUMONIA",
        "1 NORMAL",
        "3 not answered",
        "1 refused",
        "1 answered with warnings",
        "2 truncated",
        "tiny 1.0",
    ):
        assert said in text
    assert "Research use only" in text
    bins = page.find_elements(By.CSS_SELECTOR, ".bin title")
    counts = [int(each.get_attribute("textContent").split()[0]) for each in bins]
    assert (len(counts), sum(counts)) == (20, 5)
    assert page.find_element(By.ID, "shown").text == "9 of 9"


def test_sort(page: webdriver.Chrome) -> None:
    assert names(page)[:2] == ["retried.png", "a9.png"]
    assert names(page)[4] == "a10.png"
    page.find_element(By.ID, "direction").click()
    assert names(page)[0] == "a10.png"
    assert set(names(page)[5:]) == {"empty.png", "cut.png", "cut2.png", "cat.png"}  # never between answers
    Select(page.find_element(By.ID, "sort")).select_by_value("name")
    listed = names(page)
    assert listed.index("a9.png") < listed.index("a10.png")
    assert listed.index("cut.png") < listed.index("cut2.png")
    Select(page.find_element(By.ID, "sort")).select_by_value("status")
    assert set(names(page)[:3]) == {"empty.png", "cut.png", "cut2.png"}
    assert names(page)[3:5] == ["cat.png", "a9.png"]
    Select(page.find_element(By.ID, "sort")).select_by_value("doubt")
    assert names(page)[0] == r"\udcff\n.png"


def test_filter(page: webdriver.Chrome) -> None:
    show(page, "PNEUMONIA")
    assert len(names(page)) == 4
    show(page, "not answered")
    assert len(names(page)) == 3
    show(page, "refused")
    assert names(page) == ["cat.png"]
    show(page, "with warnings")
    assert names(page) == ["a9.png"]
    show(page, "all")
    type_into(page, "text", "truncated cut2")
    assert names(page) == ["cut2.png"]
    page.find_element(By.ID, "clear").click()
    type_into(page, "low", "0.6")
    type_into(page, "high", "0.98")
    assert names(page) == ["a9.png", "script><img src=x onerror=boom()>.png"]
    page.find_element(By.ID, "clear").click()
    page.find_elements(By.CSS_SELECTOR, ".bin")[0].click()
    assert names(page) == ["a10.png"]
    type_into(page, "text", "nothing like it")
    assert names(page) == []
    assert page.find_element(By.ID, "none").is_displayed()


def test_heat_map_on_and_off(page: webdriver.Chrome) -> None:
    def shown() -> list[str]:
        return [image.get_attribute("src").split("/")[-1] for image in page.find_elements(By.CSS_SELECTOR, ".card img")]

    assert set(shown()) == {"thumbnail.jpg"}
    press(page, "h")
    assert sorted(shown()) == ["gradcam.jpg"] * 4 + ["thumbnail.jpg"] * 2
    assert page.find_element(By.ID, "legend").is_displayed()
    page.find_element(By.ID, "heat").click()
    assert set(shown()) == {"thumbnail.jpg"}
    assert not page.find_element(By.ID, "legend").is_displayed()


def test_keyboard(page: webdriver.Chrome) -> None:
    def active() -> str:
        return page.find_element(By.CSS_SELECTOR, ".card[aria-selected=true] .name").text

    assert active() == "retried.png"
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert active() == "a9.png"
    press(page, Keys.ARROW_DOWN)
    assert active() == names(page)[1 + 5]  # five cards in a row of this window
    press(page, Keys.ARROW_UP, Keys.ENTER)
    detail = page.find_element(By.ID, "detail")
    assert detail.is_displayed()
    assert "Very narrow." in detail.text
    assert page.find_element(By.CSS_SELECTOR, "#picture img").get_attribute("src").endswith("/figure.png")
    press(page, Keys.ARROW_RIGHT)
    assert page.find_element(By.ID, "name").text.startswith("script>")
    press(page, Keys.ESCAPE)
    assert not detail.is_displayed()
    press(page, "/", "cut2")
    assert names(page) == ["cut2.png"]
    press(page, Keys.ENTER, Keys.ENTER)
    assert "is truncated; send it again" in detail.text


def test_detail_has_every_field(page: webdriver.Chrome) -> None:
    press(page, Keys.ENTER)
    text = page.find_element(By.ID, "facts").text
    for said in ("> 0.999", "in/retried.png", "youden", "window 40/80", "DICOM", "cpu", "fp32", "ab" * 32, "9 px"):
        assert said in text


def test_a_refusal_has_its_reason_and_no_answer(page: webdriver.Chrome) -> None:
    show(page, "refused")
    card = page.find_element(By.CSS_SELECTOR, ".card")
    assert "refused" in card.text
    card.click()
    text = page.find_element(By.ID, "facts").text
    for said in ("not like a chest radiograph", "7.5", "tiny", "in/cat.png", "youden"):
        assert said in text
    assert page.find_elements(By.CSS_SELECTOR, "#facts .gauge") == []
    assert "PNEUMONIA" not in text


def test_contrast(page: webdriver.Chrome) -> None:
    """WCAG 2.2, 1.4.3: text at 4.5 to 1 at least, on screen and on paper."""
    press(page, "h", Keys.ENTER)
    for medium in ("screen", "print"):
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium})
        pairs = page.execute_script("""
          const seen = [];
          for (const element of document.querySelectorAll("body *")) {
            const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
            if (!own || !element.checkVisibility() || element.matches("svg *, option, button:disabled")) continue;
            const colour = (each) => getComputedStyle(each).backgroundColor;
            let behind = element;
            while (behind && colour(behind) === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
            const under = behind ? colour(behind) : "rgb(255, 255, 255)";
            seen.push([element.tagName + "." + element.className, getComputedStyle(element).color, under]);
          }
          return seen;""")
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        assert len(pairs) > 10
        assert [(medium, *pair) for pair in pairs if contrast(pair[1], pair[2]) < 4.5] == []


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    values = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_print_lists_what_is_filtered(page: webdriver.Chrome) -> None:
    show(page, "PNEUMONIA")
    page.execute_cdp_cmd("Page.printToPDF", {})
    rows = page.find_elements(By.CSS_SELECTOR, "#printed tr")
    assert len(rows) == 1 + 4
    assert "in/retried.png" in rows[1].get_attribute("textContent")


def test_nothing_in_a_name_runs(page: webdriver.Chrome) -> None:
    show(page, "all")
    assert "<img src=x" in "".join(names(page))
    assert page.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert page.execute_script("return typeof boom") == "undefined"
