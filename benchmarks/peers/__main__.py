"""The same work by what people use today, side by side; writes this kind of machine's section of RESULTS.md.

    python benchmarks/peers [--quick] [--run RUN] [--out FILE] [--without lime start roofline install]

Peers that are not installed are skipped with their reason; each has its own requirements file in this folder, beside
what this checkout itself needs (".[cpu,export,lime,test]"). About seven minutes with all of them, most of it for `lime`
on Keras and DIANNA; ``--quick`` takes a tenth, writes no file and proves nothing.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from common import inputs_of
from cxr_edge.api import Model, load
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime.machine import read_machine
from install_size import DISTRIBUTIONS, MEGABYTES
from install_size import measure as install
from peers import (
    by_dianna,
    by_keras,
    by_lime,
    by_litert,
    by_mnn,
    by_ncnn,
    by_openvino,
    by_shap,
    by_torch,
    contests,
    report,
)
from peers.network import Network, plain_export
from peers.peer import Skipped, gather
from peers.report import Bar, markdown
from roofline import BAR as ROOFLINE
from roofline import PROFILE, RUNS
from roofline import measure as roofline
from rounds import Ratio
from session_start import BAR as START
from session_start import measure as start

RADIOGRAPH = Path(__file__).parents[2] / "tests" / "data" / "radiographs" / "person724_virus_1343.jpeg"
KINDS = (by_openvino, by_keras, by_litert, by_torch, by_ncnn, by_mnn, by_lime, by_shap, by_dianna)
PARTS = ("lime", "start", "roofline", "install")
SAMPLES = {False: {"samples": 1000, "rounds": 2}, True: {"samples": 20, "rounds": 1}}


def main() -> None:
    """Measure, print and write."""
    arguments = _arguments()
    quick = arguments.quick
    machine = read_machine()
    model = load(arguments.bundle, provider="cpu", precision="fp32", threads=arguments.threads, gate=False)
    tuned: Model | None = load(arguments.bundle, threads=arguments.threads, gate=False)
    if tuned is None or tuned.classifier.session.reason != "chosen by tune":
        tuned = None  # run cxr-edge tune first
    network = Network(model.bundle)
    peers, skipped = gather(KINDS, network, arguments.threads)
    (image,) = inputs_of([RADIOGRAPH])

    single = _told(contests.predict(model, tuned, peers, image, batch=1, rounds=5 if quick else 60))
    many = _told(contests.predict(model, tuned, peers, image, batch=8, rounds=3 if quick else 20))
    gradcam = _told(contests.gradcam(model, peers, image, rounds=5 if quick else 30))
    held = [single, many, gradcam]
    chosen = [] if "lime" in arguments.without else peers
    explaining = None if tuned is None else load(arguments.bundle, threads=arguments.threads, gate=False, use="lime")
    lime = _told(contests.lime(model, explaining, chosen, image, **SAMPLES[quick]))
    bars = report.bars(single, many, gradcam, lime)
    lines: list[str] = []
    if "start" not in arguments.without:
        if importlib.util.find_spec("tf2onnx") and importlib.util.find_spec("tensorflow"):
            bars.append(_start(model.bundle, arguments.run, 3 if quick else 15))
        else:
            skipped.append(Skipped("plain export", f"pip install -r benchmarks/peers/{by_keras.REQUIREMENTS}"))
    if "roofline" not in arguments.without:
        bar, told = _roofline(model.bundle, arguments.threads, 5 if quick else 40)
        bars.append(bar)
        lines += told
    if "install" not in arguments.without:
        bars.append(_install())

    # A path of this machine says nothing to a reader.
    command = f"python benchmarks/peers{' --quick' if quick else ''}{' --run RUN' if arguments.run else ''}"
    now = f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC"
    text = report.heading(machine, model.bundle, skipped, now, command)
    if quick:
        text += ["**A trial run with few rounds and samples: its figures mean nothing.**", ""]
    text += markdown(["bar", "asked", "measured", "met"], [each.row() for each in bars])
    for contest in [*held, lime]:
        head = [
            contest.task,
            "median an input" if contest.per > 1 else "median",
            f"times {contest.ours}",
            "same answer",
        ]
        text += markdown(head, report.contest_rows(contest))
    text += [report.lime_note(), "", *lines]
    out = arguments.out or (None if quick else Path(__file__).parents[1] / "RESULTS.md")
    if out:
        before = out.read_text("utf-8") if out.exists() else ""
        out.write_text(report.with_section(before, report.kind_of(machine), text), "utf-8")
    print("\n".join(text))


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--bundle", type=Path, default=None, help="another bundle than the installed one")
    options.add_argument("--run", type=Path, default=None, help="the run to take the plain export from")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--quick", action="store_true", help="few rounds and samples, to see that it works")
    options.add_argument("--without", nargs="*", choices=PARTS, default=[], help="parts to leave out")
    options.add_argument("--out", type=Path, default=None, help="RESULTS.md, or with --quick no file")
    return options.parse_args()


def _start(bundle: Bundle, run: Path | None, rounds: int) -> Bar:
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        plain.write_bytes(plain_export(bundle, run))
        seconds = start(bundle.folder, plain, rounds)
    ratio = Ratio.of(seconds, "bundle", "plain")
    measured = f"{ratio} of its time, {1e3 * seconds.median('bundle'):.0f} ms"
    what = "first session of a process from the bundle, all of it hashed, against ONNX Runtime on the plain export"
    return Bar(what, f"at most {START:g} of its time", measured, ratio.median <= START)


def _roofline(bundle: Bundle, threads: int, rounds: int) -> tuple[Bar, list[str]]:
    found = roofline(bundle, threads=threads, rounds=rounds)
    share = found.share("fp32, batch 8")
    lines = ["## Where the time goes", "", found.summary, "", *markdown(RUNS, found.rows())]
    lines += markdown(PROFILE, found.profile_rows())
    return Bar(
        "share of the float32 roofline, batch 8", f"at least {ROOFLINE:.0%}", f"{share:.0%}", share >= ROOFLINE
    ), lines


def _install() -> Bar:
    size = install()
    measured = f"{size.megabytes:.0f} MB, {len(size.distributions)} distributions"
    met = size.megabytes <= MEGABYTES and len(size.distributions) <= DISTRIBUTIONS
    asked = f"at most {MEGABYTES} MB, {DISTRIBUTIONS} distributions"
    return Bar("runtime with the `cpu` extra, installed", asked, measured, met)


def _told(contest: contests.Contest) -> contests.Contest:
    print(f"{time.strftime('%H:%M:%S')} {contest.task}: done", file=sys.stderr)
    return contest


if __name__ == "__main__":
    main()
