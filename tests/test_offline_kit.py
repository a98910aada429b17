"""The offline kit: built by the script, installed where there is no network, and used there."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples import Example, examples, prepare, run

ROOT = Path(__file__).parents[1]
ISOLATED = ["unshare", "--map-root-user", "--net"]


MAKE, INSTALL, ANSWER = (each.command for each in examples(ROOT / "docs" / "offline.md")[:3])


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit for this machine, made as the page says; skipped where no package index can be reached."""
    index = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", tmp_path_factory.mktemp("one"), "idna"]
    if subprocess.run(index, capture_output=True, check=False).returncode:
        pytest.skip("no package index can be reached")
    folder = prepare(tmp_path_factory.mktemp("kits"))
    run(Example(MAKE), folder)
    return folder / "kit"


@pytest.mark.slow
def test_it_installs_and_answers_without_a_network(kit: Path, tmp_path: Path) -> None:
    if subprocess.run([*ISOLATED, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace may be made here")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "CXR_EDGE"))}
    clean |= {"HOME": str(tmp_path), "PYTHON": sys.executable}
    (prepare(tmp_path) / "kit").symlink_to(kit)
    for command in (INSTALL, ANSWER):
        done = subprocess.run(
            [*ISOLATED, "sh", "-c", command], capture_output=True, text=True, env=clean, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "PNEUMONIA" in done.stdout
    assert "NORMAL" in done.stdout


@pytest.mark.slow
def test_the_inventory_names_every_part(kit: Path) -> None:
    wheels = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (kit / "wheels").iterdir()}
    inventory = json.loads((kit / "sbom.cdx.json").read_text("utf-8"))
    parts = [inventory["metadata"]["component"], *inventory["components"]]
    assert {part["hashes"][0]["content"] for part in parts} == wheels
    assert (inventory["bomFormat"], inventory["specVersion"]) == ("CycloneDX", "1.6")
    references = {part["bom-ref"] for part in parts}
    assert {each["ref"] for each in inventory["dependencies"]} == references
    assert {ref for each in inventory["dependencies"] for ref in each["dependsOn"]} <= references
    assert "not stated" not in (kit / "licences" / "LICENCES.txt").read_text("utf-8")
    assert (kit / "licences" / "numpy").is_dir()
    for line in (kit / "SHA256SUMS").read_text("utf-8").splitlines():
        sum_, name = line.split("  ")
        assert hashlib.sha256((kit / name).read_bytes()).hexdigest() == sum_


@pytest.mark.slow
def test_what_was_changed_on_the_way_is_not_installed(kit: Path, tmp_path: Path) -> None:
    (listed,) = [line for line in (kit / "requirements.txt").read_text().splitlines() if line.startswith("jinja2==")]
    wrong = tmp_path / "requirements.txt"
    wrong.write_text(listed[:-1] + ("0" if listed[-1] != "0" else "1") + "\n")
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", kit / "wheels", "--no-deps"]
    command = [*pip, "--require-hashes", "--target", tmp_path / "target", "-r", wrong]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "DO NOT MATCH" in done.stderr


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    script = [sys.executable, ROOT / "scripts" / "offline_kit.py", "--out", tmp_path]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is there already" in done.stderr
