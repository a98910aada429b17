"""The commands that a page of documentation shows, and how they are run.

A page is run from its first command to its last in one empty folder, so that a command may use what an earlier one
wrote. What a reader is told beside a command holds for the test as well:

    cxr-edge predict adult.dcm    # exits with 3: an adult gets no label
    cxr-edge view                 # until Ctrl-C
    cxr-train fit --data DIR      # not run here: it needs the radiographs

Alone on a line, the last one is said of the rest of its block.
"""

import os
import re
import select
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 120  # seconds for one command
ENOUGH = 6  # seconds for one that only Ctrl-C ends, unless it says something before
QUICKER = {"bench": "--window 0.05 --within 1000", "tune": "--seconds 0.1"}  # how long they measure has its own tests
_INSTALLS = "python -m pip install "


@dataclass(frozen=True)
class Example:
    """A command of a page.

    Attributes:
        command: What is typed.
        exit_code: What it ends with.
        endless: Whether only Ctrl-C ends it.
        left_out: Why it is not run; empty where it is.
    """

    command: str
    exit_code: int = 0
    endless: bool = False
    left_out: str = ""


def blocks(page: Path, language: str) -> list[str]:
    """Give the fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def examples(page: Path) -> list[Example]:
    """Give the commands of a page in their order."""
    found = []
    for block in blocks(page, "sh"):
        whole = ""
        for line in block.replace("\\\n", " ").splitlines():
            command, _, comment = (part.strip() for part in f" {line}".partition(" # "))
            reason = comment.partition("not run here: ")[2]
            whole = whole or (reason if not command else "")
            exits = re.search(r"exits with (\d)", comment)
            if command:
                code, endless = int(exits[1]) if exits else 0, "until Ctrl-C" in comment
                found.append(Example(command, code, endless, reason or whole))
    return found


def run(example: Example, folder: Path) -> None:
    """Run a command as a user would who is in ``folder``, and hold it to the exit code that the page states."""
    command = example.command
    if command.startswith(_INSTALLS):  # what it names is tested here, that it installs in .ci/run
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        installed, _, command = command.partition(" && ")
        assert {name for each in re.findall(r"\[(.*?)\]", installed) for name in each.split(",")} <= extras.keys()
    words = command.split()
    if "cxr-edge" in words:
        command += " " + QUICKER.get(words[words.index("cxr-edge") + 1], "")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config")}
    own["CXR_EDGE_CACHE"] = str(folder / ".cache")  # a choice of `tune` is for this page alone
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CXR_EDGE_")}
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=kept | own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    said = ""
    try:
        if example.endless:
            if select.select([process.stdout], [], [], ENOUGH)[0]:
                said = process.stdout.readline()
            assert process.poll() is None, said
            os.killpg(process.pid, signal.SIGINT)
        said += process.communicate(timeout=LIMIT)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    # Ctrl-C may come while a program that has just said something still starts.
    expected = {example.exit_code, 130} if example.endless else {example.exit_code}
    assert process.returncode in expected, f"{example.command}\n{said}"


def prepare(folder: Path) -> Path:
    """Make a folder look like a checkout to the commands of a page."""
    for name in ("tests", "scripts", "benchmarks", "Containerfile"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return folder
