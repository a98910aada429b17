"""How far may each map be believed? Runs every benchmark of the explanations; writes a page of tables and plots.

    python benchmarks/explanations.py [--out benchmarks/EXPLANATIONS.md] [--threads 2] [--anew] [--quick]

Exact answers (`exact_shapley.py`), planted evidence (`planted_evidence.py`), the field's yardsticks
(`faithfulness.py`) and those of the `quantus` collection (`quantus_maps.py`), each with its own intervals. Nothing on
the page is typed by hand. Peers come from an environment of their own: `peers/requirements-explanations.txt`; what is
not installed there is left out, and the page says so.

What a part printed is kept in `runs/explanations` until the page is written, so that an interruption costs one part:
it is taken again where network, script and options are the same. About half an hour on two cores.
"""

import hashlib
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from common import ROOT, model_for, parser
from explanation_plots import draw


class Part(NamedTuple):
    """A section of the page."""

    title: str
    script: str
    options: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    told: bool = True


EVALUATIONS = ("--evaluations", "64", "112", "128", "256", "1000")
PARTS = (
    Part(
        "Held to exact answers",
        "exact_shapley.py",
        ("--radiographs", "10", "--seeds", "3", *EVALUATIONS),
        ("--many", "0", "--seeds", "1"),
    ),
    Part(
        "About 30 superpixels, held to 65,536 coalitions",
        "exact_shapley.py",
        ("--radiographs", "0", "--many", "2", "--seeds", "2", "--evaluations", "64", "112", "128", "256"),
        ("--radiographs", "0", "--samples", "64", "--seeds", "1"),
        told=False,
    ),
    Part("Planted evidence", "planted_evidence.py"),
    Part(
        "Insertion, deletion, ROAD, randomisation",
        "faithfulness.py",
        ("--radiographs", "60", "--reference", "0"),
        ("--radiographs", "1"),
    ),
    Part("By the quantus collection", "quantus_maps.py"),
)
PACKAGES = ("onnxruntime", "numpy", "shap", "lime", "captum", "torch", "dianna", "quantus", "opencv-python-headless")
FOLDER = ROOT / "runs" / "explanations"


def told(script: str) -> str:
    """What a script measures, in its own words."""
    text = (Path(__file__).parent / script).read_text("utf-8").split('"""')[1]
    return "\n".join(line for line in text.strip().splitlines() if not line.startswith("    python "))


def tables(output: str) -> str:
    """What a script printed, without its progress."""
    return "\n".join(line for line in output.splitlines() if not line.endswith(" done")).strip()


def installed(package: str) -> str:
    """Its version, or that it is not there."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} not installed, left out"


def measured(part: Part, options: list[str], known: str, *, keep: bool) -> str:
    """What a part prints, from a run of the same kind where there was one.

    Args:
        part: Which.
        options: For its script.
        known: What else the numbers depend on.
        keep: Whether what was printed is kept, and may be taken.

    Raises:
        SystemExit: It failed; what other parts printed is kept.
    """
    script = Path(__file__).with_name(part.script)
    depends = "\n".join((known, *options)).encode() + script.read_bytes()
    file = FOLDER / f"{script.stem}-{hashlib.sha256(depends).hexdigest()[:16]}.txt"
    if keep and file.exists():
        print(f"{part.title}: taken from {file.relative_to(ROOT)}", flush=True)
        return file.read_text("utf-8")
    start = time.monotonic()
    lines = []
    with subprocess.Popen([sys.executable, str(script), *options], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            lines.append(line)
            if line.rstrip().endswith(" done"):
                print(f"  {time.monotonic() - start:5.0f} s  {line.rstrip()}", flush=True)
    if process.returncode:
        raise SystemExit(f"{part.script} ended with {process.returncode}; no page was written, other parts are kept")
    print(f"{part.title}: {time.monotonic() - start:.0f} s", flush=True)
    if keep:
        FOLDER.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines), "utf-8")
    return "".join(lines)


def main() -> None:
    """Run, and write the page."""
    options = parser(__doc__)
    options.add_argument("--out", type=Path, default=None, help="the page; --quick writes none unless this is given")
    options.add_argument("--anew", action="store_true", help="take nothing from an interrupted run")
    arguments = options.read()
    out = arguments.out or (None if arguments.quick else Path(__file__).with_name("EXPLANATIONS.md"))
    bundle = model_for(arguments).bundle
    given = ["--threads", str(arguments.threads), *(["--bundle", str(arguments.bundle)] if arguments.bundle else [])]
    given += ["--quick"] if arguments.quick else ["--data", str(arguments.data.radiographs.parent)]
    if arguments.anew:
        for file in FOLDER.glob("*.txt"):
            file.unlink()
    start = time.monotonic()
    versions = ", ".join(map(installed, PACKAGES))
    sections = []
    for part in PARTS:
        asked = [*given, *(part.quick if arguments.quick else part.options)]
        printed = measured(part, asked, f"{bundle.digest} {versions}", keep=not arguments.quick)
        words = f"{told(part.script)}\n\n" if part.told else ""
        sections.append(f"## {part.title}\n\n{words}{tables(printed)}\n")
    about = [
        f"Network {bundle.manifest.name} {bundle.manifest.version} ({bundle.digest[:12]}), {arguments.threads} threads",
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        versions,
    ]
    page = "\n".join(
        [
            "# How far each map may be believed",
            "",
            "Written by `python benchmarks/explanations.py`. A map says what the network used, not what is ill.",
            "",
            *(f"- {line}" for line in about),
            "",
            f"![Errors, planted evidence and the field's yardsticks]({(out or Path('EXPLANATIONS.md')).stem}.svg)",
            "",
            *sections,
        ]
    )
    if out is None:
        print(page)
        name = "no EXPLANATIONS.md"
    else:
        out.write_text(page, "utf-8")
        draw(out, out.with_suffix(".svg"))
        name = str(out.relative_to(ROOT) if out.is_relative_to(ROOT) else out)
        if not arguments.quick:
            for file in FOLDER.glob("*.txt"):
                file.unlink()
    print(f"wrote {name} with {len(sections)} parts in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
