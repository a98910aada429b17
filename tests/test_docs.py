"""The pages of docs/: every command and every piece of Python on them is run, and they make one site."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from examples import ROOT, blocks, examples, prepare, run

PAGES = sorted((ROOT / "docs").glob("*.md"))
LEFT_OUT = [(page, each) for page in PAGES for each in examples(page) if each.left_out]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_in_its_order(page, tmp_path):
    for example in examples(page):
        if not example.left_out:
            run(example, prepare(tmp_path) if not (tmp_path / "tests").exists() else tmp_path)
    for block in blocks(page, "python"):
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(each, marks=pytest.mark.skip(each.left_out), id=f"{page.name}: {each.command}")
        for page, each in LEFT_OUT
    ],
)
def test_a_command_that_is_left_out(example, tmp_path):
    run(example, prepare(tmp_path))


@pytest.mark.parametrize("block", blocks(ROOT / "docs" / "configuration.md", "toml"))
def test_the_settings_that_a_page_shows_are_understood(block, tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text(block, encoding="utf-8")
    monkeypatch.setenv("CXR_EDGE_CONFIG", str(tmp_path / "own.toml"))
    command = [sys.executable, "-m", "cxr_edge", "schema"]  # every command reads the whole file
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_block_of_commands_is_marked_as_such():
    # What is no fenced block of `sh` or of another language is not looked at, and would not be run.
    for page in [*PAGES, ROOT / "README.md"]:
        text = page.read_text("utf-8")
        assert not re.search(r"^(    |\t)(cxr-|python |pip )", text, re.MULTILINE), page.name
        assert set(re.findall(r"^```(\w*)$", text, re.MULTILINE)) <= {"sh", "python", "toml", "bat", ""}, page.name


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    out = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_site_has_every_page(site):
    listed = {
        name for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"] for name in entry.values()
    }
    assert listed == {page.name for page in PAGES}
    assert {path.stem for path in site.glob("*.html")} >= {Path(name).stem for name in listed}


def test_the_site_loads_nothing_from_elsewhere(site):
    for page in {*site.rglob("*.html")} - {site / "404.html"}:  # only a server shows that one
        text = page.read_text("utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?([^\s\">]+)", text)
        loaded += re.findall(r"<link[^>]*\shref=\"?([^\s\">]+)", text)
        assert loaded, page.name
        for each in loaded:
            assert not re.match(r"(https?:)?//", each), (page.name, each)
            assert (page.parent / re.split(r"[?#]", each)[0]).exists(), (page.name, each)
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import\s+[\"'](https?:)?//", style.read_text("utf-8")), (
            style.name
        )
