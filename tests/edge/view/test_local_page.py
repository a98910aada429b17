"""The local page in a real browser, served by the real command with the bundle that comes with the package."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("starlette", reason="the extra view is not installed")
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from browsing import asked_for, axe_faults, console, press

CHILD = "person724_virus_1343.jpeg"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, radiographs: Path) -> Path:
    """The output folder of a scan of two radiographs; the journal ends after the first, as if it still ran."""
    out = tmp_path_factory.mktemp("scans") / "out"
    inputs = [radiographs / CHILD, radiographs / "NORMAL2-IM-0588-0001.jpeg"]
    command = [sys.executable, "-m", "cxr_edge", "scan", *inputs, "--out", out, "--bundle", tiny_bundle]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def address(scanned: Path) -> Iterator[str]:
    """Where a running ``cxr-edge view`` says that it is."""
    command = [sys.executable, "-m", "cxr_edge", "view", scanned]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            yield program.stdout.readline().strip()
        finally:
            program.send_signal(signal.SIGINT)
            assert program.wait(timeout=20) == 0
            assert program.stderr.read() == (
                "Open this address in a browser of this machine. Ctrl-C ends it; nothing is kept.\n"
            )


@pytest.fixture
def page(browser: webdriver.Chrome, address: str) -> Iterator[webdriver.Chrome]:
    """The page, empty but for the scan; at the end the console must be empty and no other host asked for anything."""
    browser.get(address)
    press(browser, Keys.ESCAPE)
    browser.find_element(By.ID, "empty").click()
    wait(browser, lambda: shown(browser) == "2 of 2")
    console(browser), asked_for(browser)
    yield browser
    assert console(browser) == []
    assert [url for url in asked_for(browser) if not url.startswith(address)] == []
    browser.get("about:blank")


def wait(browser: webdriver.Chrome, condition, seconds: float = 20) -> None:
    WebDriverWait(browser, seconds, ignored_exceptions=[Exception]).until(lambda _: condition())


def shown(page: webdriver.Chrome) -> str:
    return page.find_element(By.ID, "shown").text


def text_of(page: webdriver.Chrome, name: str) -> str:
    return str(page.find_element(By.ID, name).get_attribute("textContent"))


def drop(page: webdriver.Chrome, *files: Path) -> None:
    """Drop files as a hand with a mouse does."""
    box = page.find_element(By.ID, "drop").rect
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "data": data, **place})


def layers(page: webdriver.Chrome) -> list[str]:
    images = page.find_elements(By.CSS_SELECTOR, "#pane img:not([hidden])")
    return [image.get_attribute("src").split("/")[-1] for image in images]


def test_one_radiograph_is_answered_then_explained(page: webdriver.Chrome, radiographs: Path) -> None:
    drop(page, radiographs / CHILD)
    wait(page, lambda: "Calibrated probability of PNEUMONIA" in text_of(page, "answer"))
    assert page.find_element(By.ID, "detail").is_displayed()
    wait(page, lambda: {"radiograph.jpg", "gradcam.png", "lungs.png"} <= {*layers(page)})
    wait(page, lambda: "of the LIME evidence for PNEUMONIA lies in the lungs" in text_of(page, "answer"))
    press(page, "l")
    wait(page, lambda: set(layers(page)) == {"radiograph.jpg", "lime.png", "lungs.png"})
    for image in page.find_elements(By.CSS_SELECTOR, "#pane img"):
        wait(page, lambda image=image: int(image.get_property("naturalWidth")) > 100)
    press(page, "l", "h")
    assert set(layers(page)) == {"radiograph.jpg", "gradcam.png", "lungs.png"}
    press(page, "i")
    assert "window" in page.find_element(By.CSS_SELECTOR, "#pane .radiograph").value_of_css_property("filter")
    press(page, "0", Keys.ESCAPE)


def test_what_a_superpixel_says_under_the_pointer(page: webdriver.Chrome, radiographs: Path) -> None:
    drop(page, radiographs / CHILD)
    shap = page.find_element(By.CSS_SELECTOR, "[data-seen=shap]")
    wait(page, shap.is_displayed, 60)
    shap.click()
    assert set(layers(page)) == {"radiograph.jpg", "shap.png", "lungs.png"}
    stage = page.find_element(By.CSS_SELECTOR, "#pane .radiograph")
    pointed = []
    for across in (-60, 0, 60):
        ActionChains(page).move_to_element_with_offset(stage, across, 20).perform()
        pointed.append(text_of(page, "pointed"))
        number = r"[+\u2212]\d+\.\d\d"
        said = rf"SHAP, this superpixel: {number} log-odds of PNEUMONIA, 95 % interval {number} to {number}"
        assert re.match(said, pointed[-1]), pointed
    assert len({*pointed}) > 1
    page.find_element(By.CSS_SELECTOR, "[data-seen=fine]").click()
    ActionChains(page).move_to_element(stage).perform()
    assert re.fullmatch(r"LayerCAM, this cell: \d+ % of the peak", text_of(page, "pointed"))
    ActionChains(page).move_to_element(page.find_element(By.ID, "name")).perform()
    assert not text_of(page, "pointed")


def test_all_maps_side_by_side(page: webdriver.Chrome, radiographs: Path) -> None:
    drop(page, radiographs / CHILD)
    wait(page, page.find_element(By.CSS_SELECTOR, "[data-seen=shap]").is_displayed, 60)
    button = page.find_element(By.ID, "all-maps")
    button.click()
    shown = """return [...document.querySelectorAll(".maps figure")].map((each) => {
      const image = each.querySelector("img");
      return [each.querySelector("figcaption").textContent,
              image.naturalWidth > 100 && image.getBoundingClientRect().width > 50];
    })"""  # in one step: the page draws itself anew when something arrives
    expected = [[title, True] for title in ("Grad-CAM", "LayerCAM", "LIME", "SHAP")]
    wait(page, lambda: page.execute_script(shown) == expected)
    if folder := os.environ.get("CXR_EDGE_SCREENSHOTS"):
        page.save_screenshot(str(Path(folder) / "side-by-side.png"))
    button.click()
    assert not page.find_elements(By.CSS_SELECTOR, ".maps")
    assert page.find_element(By.CSS_SELECTOR, "#pane .radiograph").is_displayed()


def test_the_map_is_uncovered_by_a_slider(page: webdriver.Chrome, radiographs: Path) -> None:
    drop(page, radiographs / CHILD)
    wait(page, lambda: "gradcam.png" in layers(page))
    slider = page.find_element(By.ID, "reveal")
    page.execute_script("arguments[0].value = 50; arguments[0].dispatchEvent(new Event('input'))", slider)
    heat = page.find_element(By.CSS_SELECTOR, "#pane .heat")
    assert heat.value_of_css_property("clip-path") == "inset(0px 0px 0px 50%)"
    assert page.find_element(By.CSS_SELECTOR, "#pane .lungs").value_of_css_property("clip-path") == "none"
    if folder := os.environ.get("CXR_EDGE_SCREENSHOTS"):
        page.save_screenshot(str(Path(folder) / "slider.png"))
    page.execute_script("arguments[0].value = 0; arguments[0].dispatchEvent(new Event('input'))", slider)
    assert heat.value_of_css_property("clip-path") == "inset(0px 0px 0px 0%)"


def test_what_cannot_be_answered_says_why(page: webdriver.Chrome, radiographs: Path, tmp_path: Path) -> None:
    cut, cat = tmp_path / "cut.jpeg", tmp_path / "cat.png"
    cut.write_bytes((radiographs / CHILD).read_bytes()[:2000])
    cv2.imwrite(str(cat), np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8))
    drop(page, cut)
    wait(page, lambda: "not answered" in text_of(page, "answer"))
    assert "truncated" in text_of(page, "technical")
    press(page, Keys.ESCAPE)
    drop(page, cat)
    wait(page, lambda: "refused" in text_of(page, "answer"))
    assert "Not like" in text_of(page, "answer")
    assert layers(page) == ["radiograph.jpg"]
    press(page, Keys.ESCAPE)


def test_two_hundred_files_at_once_and_no_more(page: webdriver.Chrome, radiographs: Path, tmp_path: Path) -> None:
    image = cv2.imread(str(radiographs / CHILD), cv2.IMREAD_GRAYSCALE)
    small = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    files = [tmp_path / f"{number}.png" for number in range(203)]
    for number, file in enumerate(files):
        picture = small.copy()
        picture[0, : number % 200 + 1] = 255  # contents of their own
        cv2.imwrite(str(file), picture)
    drop(page, *files)
    wait(page, lambda: text_of(page, "state") == "all 200 files done", 120)
    assert shown(page) == "202 of 202"  # with the two of the scan
    assert "Only 200 files fit on the page: 3 were left out." in text_of(page, "trouble")
    assert not page.find_element(By.ID, "detail").is_displayed()
    page.refresh()
    wait(page, lambda: shown(page) == "202 of 202")  # they are in the program's memory
    page.find_element(By.ID, "empty").click()
    wait(page, lambda: shown(page) == "2 of 2")


def test_side_by_side_with_an_earlier_one_and_on_paper(page: webdriver.Chrome, radiographs: Path) -> None:
    drop(page, radiographs / CHILD, radiographs / "NORMAL2-IM-0588-0001.jpeg")
    wait(page, lambda: text_of(page, "state") == "all 2 files done")
    page.find_element(By.CSS_SELECTOR, "#card-0").click()
    press(page, "c", Keys.ARROW_RIGHT)
    assert len([each for each in page.find_elements(By.CSS_SELECTOR, ".pane") if each.is_displayed()]) == 2
    assert len(page.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 10_000
    press(page, Keys.ESCAPE)


def test_a_running_scan_is_followed(page: webdriver.Chrome, scanned: Path) -> None:
    journal = scanned / "results.jsonl"
    before, status = journal.read_bytes(), journal.stat()
    record = {**json.loads(before.splitlines()[0]), "path": "/late/arrival.png"}
    try:
        with journal.open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
        wait(page, lambda: shown(page) == "3 of 3")
        assert "arrival.png" in page.find_element(By.ID, "gallery").text
    finally:
        journal.write_bytes(before)
        os.utime(journal, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("width", [390, 1280])
def test_no_serious_fault_of_access(page: webdriver.Chrome, radiographs: Path, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert axe_faults(page) == []
        drop(page, radiographs / CHILD)
        wait(page, lambda: "LIME evidence" in text_of(page, "answer"))
        assert axe_faults(page) == []
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        press(page, Keys.ESCAPE)
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("", {}, 200),
        ("/", {}, 404),  # without the token
        ("rows?start=0", {}, 200),
        ("rows?start=0", {"Host": "evil.example"}, 403),
        ("rows?start=0", {"Origin": "http://evil.example"}, 403),
        ("assets/aa/..%2f..%2fscan.json/thumbnail.jpg", {}, 404),
        ("assets/aa/" + "a" * 64 + "/scan.json", {}, 404),
    ],
)
def test_who_may_ask(address: str, path: str, headers: dict[str, str], status: int) -> None:
    url = urlsplit(address)
    assert url.hostname == "127.0.0.1"
    asking = http.client.HTTPConnection(url.hostname, url.port)
    asking.request("GET", path if path.startswith("/") else url.path + path, headers=headers)
    answer = asking.getresponse()
    assert answer.status == status
    assert answer.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    asking.close()


def test_the_same_name_again_has_the_new_answer(address: str, radiographs: Path) -> None:
    url = urlsplit(address)
    asking = http.client.HTTPConnection(url.hostname, url.port)
    hashes = []
    for file in sorted(radiographs.glob("*.jpeg")):
        asking.request("POST", f"{url.path}answer?name=same.jpeg", body=file.read_bytes())
        hashes.append(
            next(value for value in json.load(asking.getresponse()) if isinstance(value, str) and len(value) == 64)
        )
    assert len({*hashes}) == 2
    asking.request("POST", f"{url.path}explain?name=never%20seen")
    answer = asking.getresponse()
    assert (answer.status, answer.read()) == (409, b"never seen: is not open here")
    asking.close()


def test_nothing_is_written(tmp_path: Path, tiny_bundle: Path, radiographs: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-m", "cxr_edge", "view", "--bundle", tiny_bundle]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=home) as program:
        url = urlsplit(program.stdout.readline().strip())
        asking = http.client.HTTPConnection(url.hostname, url.port)
        asking.request("POST", f"{url.path}answer?name=a.jpeg", body=(radiographs / CHILD).read_bytes())
        assert asking.getresponse().status == 200
        asking.close()
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=20) == 0
    assert list(home.iterdir()) == []


def test_a_folder_that_is_no_scan_and_a_port_that_is_taken(tmp_path: Path, tiny_bundle: Path, address: str) -> None:
    command = [sys.executable, "-m", "cxr_edge", "view", "--bundle", tiny_bundle]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is no output folder of cxr-edge scan" in done.stderr
    port = str(urlsplit(address).port)
    done = subprocess.run([*command, "--port", port], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"port {port} is not free" in done.stderr
