"""The README's examples, run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
LINES = [
    line.strip()
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
    if line.startswith("cxr-edge ") and "bundles/mine" not in line
]


QUICKER = {"bench": "--window 0.05 --within 1000"}  # how long it measures is its own tests' business


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    return tmp_path


def test_there_are_examples_of_every_command():
    assert {line.split()[1] for line in LINES} >= {"predict", "explain", "verify"}


@pytest.mark.parametrize("line", LINES)
def test_command(line, checkout):
    line, _, comment = line.partition(" #")
    stated = re.search(r"exits with (\d)", comment)
    program = [f"{Path(sys.executable).parent}/cxr-edge", *line.split()[1:], QUICKER.get(line.split()[1], "")]
    done = subprocess.run(
        ["bash", "-c", " ".join(program)], cwd=checkout, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == (int(stated[1]) if stated else 0), done.stderr


@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "python"])
def test_python(block, checkout):
    done = subprocess.run([sys.executable, "-c", block], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
