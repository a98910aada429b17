"""How far may each map be believed? Runs every benchmark of the explanations and writes one page of their tables.

    python benchmarks/explanations.py [--out benchmarks/EXPLANATIONS.md] [--threads 2] [--quick]

Exact answers (`exact_shapley.py`), planted evidence (`planted_evidence.py`), and the field's yardsticks
(`faithfulness.py`), each with its own intervals. Nothing on the page is typed by hand.
"""

import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from common import ROOT, model_for, parser

PARTS = {
    "Held to exact answers": ("exact_shapley.py", ("--many", "2")),
    "Planted evidence": ("planted_evidence.py", ()),
    "Insertion, deletion, ROAD, randomisation": ("faithfulness.py", ("--reference", "0")),
}
PACKAGES = ("onnxruntime", "numpy", "shap", "captum", "lime", "opencv-python-headless")


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


def main() -> None:
    """Run, and write the page."""
    options = parser(__doc__)
    options.add_argument("--out", type=Path, default=None, help="the page; --quick writes none unless this is given")
    arguments = options.read()
    out = arguments.out or (None if arguments.quick else Path(__file__).with_name("EXPLANATIONS.md"))
    bundle = model_for(arguments).bundle
    given = ["--threads", str(arguments.threads), *(["--bundle", str(arguments.bundle)] if arguments.bundle else [])]
    given += ["--quick"] if arguments.quick else ["--data", str(arguments.data.radiographs.parent)]
    start = time.monotonic()
    parts = []
    for title, (script, more) in PARTS.items():
        command = [sys.executable, str(Path(__file__).with_name(script)), *given, *([] if arguments.quick else more)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{script} ended with {done.returncode}; nothing was written")
        parts.append(f"## {title}\n\n{told(script)}\n\n{tables(done.stdout)}\n")
        print(f"{script} done", flush=True)
    about = [
        f"Network {bundle.manifest.name} {bundle.manifest.version} ({bundle.digest[:12]}), {arguments.threads} threads",
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        ", ".join(map(installed, PACKAGES)),
    ]
    page = "\n".join(
        [
            "# How far each map may be believed",
            "",
            "Written by `python benchmarks/explanations.py`. A map says what the network used, not what is ill.",
            "",
            *(f"- {line}" for line in about),
            "",
            *parts,
        ]
    )
    if out is None:
        print(page)
        name = "no EXPLANATIONS.md"
    else:
        out.write_text(page, "utf-8")
        name = str(out.relative_to(ROOT) if out.is_relative_to(ROOT) else out)
    print(f"wrote {name} with {len(parts)} parts in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
