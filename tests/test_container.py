"""The container file, replayed step by step without an engine: what is copied, run, and started as whom."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READ_ONLY = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-c"]
REMOUNT = "mount --make-rprivate / && mount -o remount,ro,bind / && "
OURS = ("/opt/cxr-edge", "/wheels", "/source", "/data")  # absolute names of the image


@dataclass
class Image:
    """What the last stage of the file makes.

    Attributes:
        root: The folder that stands for the root of its file system.
        variables: ENV.
        user: USER.
        health, entry, command: HEALTHCHECK, ENTRYPOINT, CMD.
    """

    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    health: list[str] = field(default_factory=list)
    entry: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def place(self, text: str) -> str:
        """Put absolute names of the image where they lie here."""
        return re.sub(rf"(?<![\w.])({'|'.join(OURS)})\b", lambda name: f"{self.root}{name[0]}", text)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the image on a read-only root without a network."""
        variables = {name: self.place(value) for name, value in self.variables.items()}
        command = f"exec {shlex.join(['env', '-i', *(f'{n}={v}' for n, v in variables.items()), *words])}"
        return subprocess.run(
            [*READ_ONLY, REMOUNT + command],
            cwd=self.root / "data",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


def steps() -> list[tuple[str, str]]:
    """Give the instructions of the file with what stands after them."""
    text = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", " ")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def replay(image: Image) -> None:
    """Do what each instruction says, below the image's root."""
    stage = workplace = ""
    for word, rest in steps():
        match word:
            case "FROM":
                stage, workplace = rest.partition(" AS ")[2], "/"
            case "WORKDIR":
                workplace = rest
                (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY" if rest.startswith("--from=build "):
                assert all((image.root / each.lstrip("/")).is_dir() for each in rest.split()[1:])
            case "COPY":
                *sources, target = rest.split()
                for name in sources:
                    place = image.root / workplace.lstrip("/") / target / ("" if len(sources) == 1 else name)
                    ignored = shutil.ignore_patterns("__pycache__")
                    copy = shutil.copy if (ROOT / name).is_file() else shutil.copytree
                    copy(ROOT / name, place, **({} if copy is shutil.copy else {"ignore": ignored}))
            case "RUN" if stage == "build":
                perform(image, rest, workplace)
            case "RUN":  # only its user can be made without changing this machine
                assert re.fullmatch(r"useradd --system --no-create-home --uid (\d+) \w+", rest), rest
            case "ENV":
                image.variables |= dict(each.partition("=")[::2] for each in rest.split())
            case "USER":
                image.user = rest
            case "HEALTHCHECK":
                image.health = json.loads(rest.partition("CMD ")[2])
            case "ENTRYPOINT":
                image.entry = json.loads(rest)
            case "CMD":
                image.command = json.loads(rest)
            case _:
                pytest.fail(f"this test does not know {word}")


def perform(image: Image, command: str, workplace: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CXR_EDGE"))}
    clean["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    place = image.root / workplace.lstrip("/")
    done = subprocess.run(
        ["sh", "-c", image.place(command)], cwd=place, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    if " venv " in command:  # what is installed here serves as what would be downloaded
        (packages,) = (image.root / "opt").glob("*/lib/python*/site-packages")
        (packages / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image, below a temporary folder; skipped where no package index can be reached for the build."""
    with tempfile.TemporaryDirectory() as folder:
        index = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", f"{folder}/one", "idna"]
        if subprocess.run(index, capture_output=True, check=False).returncode:
            pytest.skip("no package index can be reached")
        found = Image(Path(folder))
        replay(found)
        yield found


@pytest.mark.slow
def test_it_is_healthy_and_answers_on_a_read_only_root_without_a_network(image, radiographs):
    if subprocess.run([*READ_ONLY, f"{REMOUNT}true"], capture_output=True, check=False).returncode:
        pytest.skip("no mounts of one's own may be made here")
    shutil.copy(radiographs / "person724_virus_1343.jpeg", image.root / "data")
    healthy = image.run(*image.health)
    assert healthy.returncode == 0, healthy.stderr
    own = image.run("python", "-c", "import cxr_edge; print(cxr_edge.__file__)")
    assert own.stdout.startswith(image.place("/opt/cxr-edge"))  # and not what the tests are run with
    answered = image.run(*image.entry, "predict", image.place("/data"))
    assert answered.returncode == 0, answered.stderr
    assert "PNEUMONIA" in answered.stdout
    helped = image.run(*image.entry, *image.command)
    assert "Usage: cxr-edge" in helped.stdout


def test_it_runs_as_somebody_without_rights():
    said = dict(steps())
    (uid,) = re.findall(r"--uid (\d+)", (ROOT / "Containerfile").read_text("utf-8"))
    assert said["USER"] == uid != "0"
    assert [word for word, _ in steps()].index("USER") < [word for word, _ in steps()].index("ENTRYPOINT")


def test_only_what_is_copied_gets_to_the_engine():
    ignored = (ROOT / ".containerignore").read_text("utf-8").splitlines()
    copied = {name for word, rest in steps() if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]}
    assert ignored[0] == "**"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
