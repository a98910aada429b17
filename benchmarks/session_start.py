"""A session from the bundle, hash check included, beside ONNX Runtime on the plain export of the same network.

    python benchmarks/session_start.py [--rounds 15] [--bundle DIR] [--run RUN] [--quick]

Every start is the first one of a process of its own, which has imported its libraries before; the processes take turns.
The plain export is what tf2onnx makes of the Keras network, with nothing folded: of the run named by ``--run``, or of
the bundle's own weights put back into Keras (needs TensorFlow).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from common import Options, table
from peers.network import plain_export
from rounds import Ratio, Seconds

_PREAMBLE = "import sys, time, numpy, onnxruntime, cxr_edge.prediction.classifier\nstart = time.perf_counter()\n"
_PLAIN = "session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
_OURS = (
    "bundle = cxr_edge.bundle.bundle.Bundle.open(sys.argv[1])\n"
    "classifier = cxr_edge.prediction.classifier.Classifier(bundle, provider='cpu', gate=False)\n"
)
_PRINT = "print(time.perf_counter() - start)\n"
BAR = 0.6


def measure(bundle: Path, plain: Path, rounds: int) -> Seconds:
    """Seconds of both, round for round: ``bundle`` and ``plain``."""
    commands = {
        "bundle": [sys.executable, "-c", _PREAMBLE + _OURS + _PRINT, str(bundle)],
        "plain": [sys.executable, "-c", _PREAMBLE + _PLAIN + _PRINT, str(plain)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):  # the first round only warms the disk cache
        for name, command in commands.items():
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds[name].append(float(done.stdout))
    return Seconds({name: values[1:] for name, values in seconds.items()})


def main() -> None:
    """Measure and print."""
    from cxr_edge.bundle.bundle import Bundle

    options = Options(__doc__).with_bundle()
    options.number("--rounds", 15, quick=1)
    options.add_argument("--run", type=Path, default=None)
    arguments = options.read()
    bundle = Bundle.open(arguments.bundle)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        plain.write_bytes(plain_export(bundle, arguments.run))
        seconds = measure(bundle.folder, plain, arguments.rounds)
    ratio = Ratio.of(seconds, "bundle", "plain")
    rows = [[name, f"{1000 * seconds.median(name):.1f} ms"] for name in ("bundle", "plain")]
    table(["first session of a process", "median"], [*rows, ["ratio", f"{ratio} (bar {BAR})"]])


if __name__ == "__main__":
    main()
