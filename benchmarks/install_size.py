"""What installing the runtime costs: distributions and megabytes in an environment of its own.

    python benchmarks/install_size.py [--extra cpu]

Makes an environment in a temporary folder, installs this checkout into it with the pinned versions, and counts what
is there beyond an empty one (pip and setuptools). Needs a package index or pip's cache; about a minute.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common import ROOT, Options

MEGABYTES, DISTRIBUTIONS = 400, 20


@dataclass(frozen=True)
class Size:
    """What an installation takes.

    Attributes:
        megabytes: On disk, files as they are (1 MB = 10^6 bytes), compiled bytecode included.
        distributions: Names of all that was installed, this one among them.
        largest: Megabytes of the five largest top-level folders.
    """

    megabytes: float
    distributions: list[str]
    largest: dict[str, float]


def measure(extra: str = "cpu") -> Size:
    """Install and count.

    Raises:
        subprocess.CalledProcessError: pip could not install it.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        python = next(path for path in (folder / "bin" / "python", folder / "Scripts" / "python.exe") if path.exists())
        query = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        site = Path(subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip())
        before, empty = set(_listed(python)), _bytes(folder)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        target = [f"{ROOT}[{extra}]"]
        environment = {
            key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
        }
        subprocess.run(
            [*pip, "-c", str(ROOT / "constraints.txt"), *target], check=True, capture_output=True, env=environment
        )
        sizes = {path.name: _bytes(path) / 1e6 for path in site.iterdir() if path.is_dir()}
        largest = dict(sorted(sizes.items(), key=lambda pair: -pair[1])[:5])
        names = sorted(set(_listed(python)) - before)
        return Size((_bytes(folder) - empty) / 1e6, names, largest)


def _listed(python: Path) -> list[str]:
    command = [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [each["name"] for each in json.loads(done.stdout)]


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_symlink() and path.is_file())


def main() -> None:
    """Measure and print."""
    options = Options(__doc__)
    options.add_argument("--extra", default="cpu")
    found = measure(options.read().extra)
    print(
        f"{found.megabytes:.0f} MB (bar {MEGABYTES}), {len(found.distributions)} distributions (bar {DISTRIBUTIONS}):"
    )
    print(", ".join(found.distributions))
    print("largest: " + ", ".join(f"{name} {size:.0f} MB" for name, size in found.largest.items()))


if __name__ == "__main__":
    main()
