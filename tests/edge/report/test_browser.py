"""The report in a real browser, without a window."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from browsing import asked_for, axe_faults, console, press
from cxr_edge.report import write_reports

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def page(browser: webdriver.Chrome, scanned: Path) -> Iterator[webdriver.Chrome]:
    """The report, opened; at the end the console must be empty and nobody else must have been asked for anything."""
    write_reports(scanned, formats=["html"])
    console(browser), asked_for(browser)
    browser.get((scanned / "report.html").as_uri())
    yield browser
    assert console(browser) == []
    asked = asked_for(browser)
    assert asked
    assert [url for url in asked if not url.startswith(scanned.as_uri())] == []


def names(page: webdriver.Chrome) -> list[str]:
    """The listed files in their order, which is not that of the elements."""
    cards = page.find_elements(By.CSS_SELECTOR, ".card")
    cards.sort(key=lambda card: int(card.get_attribute("aria-posinset")))
    return [card.find_element(By.CSS_SELECTOR, ".name").text for card in cards]


def show(page: webdriver.Chrome, word: str) -> None:
    (button,) = [each for each in page.find_elements(By.CSS_SELECTOR, "#show button") if word in each.text]
    button.click()


def type_into(page: webdriver.Chrome, name: str, text: str) -> None:
    page.find_element(By.ID, name).clear()
    page.find_element(By.ID, name).send_keys(text)


def test_summary_counts(page: webdriver.Chrome) -> None:
    text = page.find_element(By.ID, "summary").text
    for said in (
        "5 PNEUMONIA",
        "1 NORMAL",
        "3 not answered",
        "1 refused",
        "1 answered with warnings",
        "2 truncated",
        "tiny 1.0",
        "1 refused: no chest radiograph",
        "29 (21 to 38)",  # false alarms of 100, from the specificity that scan.json states
    ):
        assert said in text
    assert "Research use only" in text
    bins = page.find_elements(By.CSS_SELECTOR, ".bin title")
    counts = [int(each.get_attribute("textContent").split()[0]) for each in bins]
    assert (len(counts), sum(counts)) == (20, 6)
    assert page.find_element(By.ID, "shown").text == "10 of 10"


def test_sort(page: webdriver.Chrome) -> None:
    assert names(page)[:2] == ["retried.png", "a9.png"]
    assert names(page)[5] == "a10.png"
    page.find_element(By.ID, "direction").click()
    assert names(page)[0] == "a10.png"
    assert set(names(page)[6:]) == {"empty.png", "cut.png", "cut2.png", "cat.png"}  # never between answers
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
    assert len(names(page)) == 5
    show(page, "near a threshold")
    assert set(names(page)) == {r"\udcff\n.png", "script><img src=x onerror=boom()>.png"}
    show(page, "same file twice")
    assert names(page) == ["a9.png", "copy of a9.png"]
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
    assert names(page) == ["a9.png", "copy of a9.png", "script><img src=x onerror=boom()>.png"]
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
    assert sorted(shown()) == ["gradcam.jpg"] * 5 + ["thumbnail.jpg"] * 2
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
    assert "The same file is listed once more: copy of a9.png." in detail.text
    assert picture_names(page) == ["radiograph.jpg", "gradcam.png", "lungs.png"]
    press(page, Keys.ARROW_RIGHT)
    assert page.find_element(By.ID, "name").text == "copy of a9.png"
    press(page, Keys.ESCAPE)
    assert not detail.is_displayed()
    press(page, "/", "cut2")
    assert names(page) == ["cut2.png"]
    press(page, Keys.ENTER, Keys.ENTER)
    assert "is truncated; send it again" in detail.text


def picture_names(page: webdriver.Chrome) -> list[str]:
    """The pictures that lie over each other in the large pane, without those that are switched off."""
    images = page.find_elements(By.CSS_SELECTOR, "#pane img:not([hidden])")
    return [image.get_attribute("src").split("/")[-1] for image in images]


def text_of(page: webdriver.Chrome, name: str) -> str:
    return str(page.find_element(By.ID, name).get_attribute("textContent"))


def test_findings_stand_before_technical_details(page: webdriver.Chrome) -> None:
    press(page, Keys.ENTER)
    assert "> 0.999, far above the threshold" in text_of(page, "answer")
    facts, technical = text_of(page, "facts"), text_of(page, "technical")
    for said in ("in/retried.png", "8 pixels, 16 bit, DICOM", "window 40/80"):
        assert said in facts
    for said in ("youden", "fp32 on cpu", "tiny 1.0", "-1.50", "0.500"):
        assert said in technical
        assert said not in facts
    assert not page.find_element(By.ID, "technical").is_displayed()
    assert "_" not in facts + technical  # no name of a key
    page.find_element(By.CSS_SELECTOR, "#detail details summary").click()
    assert page.find_element(By.ID, "technical").is_displayed()


def test_answers_just_above_and_far_above_look_different(page: webdriver.Chrome) -> None:
    bars = page.find_elements(By.CSS_SELECTOR, ".card .gauge .value")
    widths = sorted(float(bar.get_attribute("width")) for bar in bars)
    assert (round(widths[0]), round(widths[1]), round(widths[-1])) == (6, 150, 300)  # of 300 for a probability of 1
    show(page, "near a threshold")
    page.find_element(By.CSS_SELECTOR, ".card").click()
    assert "just above the threshold" in text_of(page, "answer")
    assert "A close call" in text_of(page, "answer")


def test_layers_window_and_zoom(page: webdriver.Chrome) -> None:
    press(page, Keys.ENTER)
    heat = page.find_element(By.CSS_SELECTOR, "[data-seen=heat]")
    assert heat.get_attribute("aria-pressed") == "true"
    assert not page.find_element(By.CSS_SELECTOR, "[data-seen=lime]").is_enabled()  # this scan made none
    press(page, "h")
    assert picture_names(page) == ["radiograph.jpg", "lungs.png"]
    press(page, "o")
    assert picture_names(page) == ["radiograph.jpg"]
    image = page.find_element(By.CSS_SELECTOR, "#pane .radiograph")
    assert image.value_of_css_property("filter") == "none"
    ActionChains(page).click_and_hold(image).move_by_offset(40, 30).release().perform()
    assert "window" in image.value_of_css_property("filter")
    slope = page.find_element(By.CSS_SELECTOR, "#window [slope]").get_attribute("slope")
    assert float(slope) > 1
    press(page, "i")
    assert float(page.find_element(By.CSS_SELECTOR, "#window [slope]").get_attribute("slope")) < -1
    press(page, "+", "+")
    assert text_of(page, "zoomed") == "196 %"
    stage = page.find_element(By.CSS_SELECTOR, "#pane .stage")
    before = stage.get_attribute("style")
    ActionChains(page).click_and_hold(stage).move_by_offset(25, 0).release().perform()
    assert stage.get_attribute("style") != before
    press(page, "0")
    assert image.value_of_css_property("filter") == "none"
    assert text_of(page, "zoomed") == "100 %"


def test_a_file_that_browsers_show_is_shown_itself_and_its_thumbnail_when_it_is_gone(
    browser: webdriver.Chrome, scanned: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(scanned, tmp_path / "out")
    file = tmp_path / "näher #1.png"
    shutil.copyfile(DATA / "radiographs" / "NORMAL2-IM-0588-0001.jpeg", file)  # a browser looks at the content
    lines = (folder / "results.jsonl").read_text().splitlines()
    record = next(json.loads(line) for line in lines if '"in/a9.png"' in line)
    source = {**record["source"], "format": "JPEG"}
    (folder / "results.jsonl").write_text(json.dumps({**record, "path": str(file), "source": source}) + "\n")
    (assets,) = (path.parent for path in folder.rglob("radiograph.jpg") if path.parent.name == record["sha256"])
    (assets / "radiograph.jpg").unlink()
    write_reports(folder, formats=["html"])

    def shown() -> str:
        browser.get((folder / "report.html").as_uri())
        press(browser, Keys.ENTER)
        image = browser.find_element(By.CSS_SELECTOR, "#pane .radiograph")
        WebDriverWait(browser, 10).until(lambda _: int(image.get_property("naturalWidth")) > 0)
        return str(image.get_attribute("src"))

    assert shown() == file.as_uri()
    file.unlink()
    assert shown().endswith("thumbnail.jpg")
    console(browser), asked_for(browser)


def test_side_by_side(page: webdriver.Chrome) -> None:
    press(page, Keys.ENTER, "c", Keys.ARROW_RIGHT)
    captions = [each.text for each in page.find_elements(By.CSS_SELECTOR, ".pane figcaption")]
    assert [caption.lstrip("▲") for caption in captions] == ["PNEUMONIA > 0.999 retried.png", "PNEUMONIA 0.970 a9.png"]
    left, right = page.find_elements(By.CSS_SELECTOR, ".pane")
    assert abs(left.size["width"] - right.size["width"]) < 2
    press(page, "c")
    assert not left.is_displayed()


def test_marks_stay_and_are_exported(page: webdriver.Chrome, tmp_path: Path) -> None:
    show(page, "with warnings")
    page.find_element(By.CSS_SELECTOR, ".card").click()
    press(page, "r", "n", "=look again", Keys.ESCAPE, Keys.ESCAPE)
    page.refresh()
    Select(page.find_element(By.ID, "review")).select_by_value("done")
    assert names(page) == ["a9.png", "copy of a9.png"]  # one content, one mark
    assert "✎" in page.find_element(By.CSS_SELECTOR, ".corner:not(.twin)").text
    folder = tmp_path / "downloads"
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    page.find_element(By.ID, "export").click()
    WebDriverWait(page, 10).until(lambda _: (folder / "reviewed.csv").exists())
    rows = list(csv.DictReader(io.StringIO((folder / "reviewed.csv").read_text("utf-8-sig"))))
    assert [row["path"] for row in rows] == ["in/a9.png", "in/copy of a9.png"]
    assert rows[0]["note"] == "'=look again"  # no formula for a spreadsheet
    assert rows[0]["reviewed"].startswith("20")
    assert (rows[0]["label"], rows[0]["warnings"]) == ("PNEUMONIA", "Very narrow.")
    page.execute_script("localStorage.clear()")


def test_a_refusal_has_its_reason_and_no_answer(page: webdriver.Chrome) -> None:
    show(page, "refused")
    card = page.find_element(By.CSS_SELECTOR, ".card")
    assert "refused" in card.text
    card.click()
    text = text_of(page, "answer") + text_of(page, "facts") + text_of(page, "technical")
    for said in ("Not like a chest radiograph", "7.50", "tiny", "in/cat.png", "youden"):
        assert said in text
    assert page.find_elements(By.CSS_SELECTOR, "#answer .gauge") == []
    assert "PNEUMONIA" not in text
    assert picture_names(page) == ["radiograph.jpg"]


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
    assert len(rows) == 1 + 5
    assert "in/retried.png" in rows[1].get_attribute("textContent")
    show(page, "with warnings")
    page.execute_cdp_cmd("Page.printToPDF", {})
    table = text_of(page, "printed")
    assert "1 of 10 radiographs in in" in table  # the folder that all have in common, once
    assert "in/a9.png" not in table
    assert "a9.pngVery narrow." in table


def test_nothing_in_a_name_runs(page: webdriver.Chrome) -> None:
    show(page, "all")
    assert "<img src=x" in "".join(names(page))
    assert page.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert page.execute_script("return typeof boom") == "undefined"


@pytest.mark.parametrize("width", [390, 1280])
def test_no_serious_fault_of_access(page: webdriver.Chrome, width: int) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        assert axe_faults(page) == []
        press(page, Keys.ENTER)
        assert axe_faults(page) == []
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_histogram_marks_both_thresholds(radiographs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cxr_edge", "scan", radiographs / "person724_virus_1343.jpeg", "--out", tmp_path]
    subprocess.run([*command, "--formats", "html"], check=True, capture_output=True)
    record = json.loads((tmp_path / "results.jsonl").read_text("utf-8").splitlines()[0])
    page = (tmp_path / "report.html").read_text("utf-8")
    assert f">unsure from {record['threshold']:.3f}</text>" in page
    assert f">{record['certain_from']:.3f} sure</text>" in page
    assert page.count('<path class="threshold"') == 2
