"""How long whole processes take, side by side: `cxr-edge` against the bare imports that it cannot do without.

    python benchmarks/process_start.py [--rounds 15] [--bundle DIR] [--run RUN] [--quick]

Commands alternate within every round, so that a busy machine slows all of them alike; medians and their ratios are
printed. With --run, a folder of cxr-train, the same answer through Keras is a third contender.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import SAMPLES, Options

RADIOGRAPH = SAMPLES / "radiographs" / "NORMAL2-IM-0588-0001.jpeg"

KERAS = """
import sys, cv2, keras
network = keras.saving.load_model(sys.argv[1], compile=False)
pixels = cv2.resize(cv2.imread(sys.argv[2], cv2.IMREAD_GRAYSCALE).astype("float32"), (224, 224))
logits = network.predict(pixels[None], verbose=0)[0]
print(logits[1] - logits[0])
"""


def main() -> None:
    """Measure and print."""
    parser = Options(__doc__)
    parser.number("--rounds", 15, quick=1)
    parser.add_argument("--bundle", default=None, help="another bundle than the installed one")
    parser.add_argument("--run", default=None, type=Path, help="the training run to answer through Keras")
    arguments = parser.read()
    program = shutil.which("cxr-edge", path=str(Path(sys.executable).parent)) or "cxr-edge"
    bundle = ["--bundle", arguments.bundle] if arguments.bundle else []
    commands = {
        "import typer": [sys.executable, "-c", "import typer"],
        "cxr-edge --help": [program, "--help"],
        "cxr-edge --version": [program, "--version"],
        "import numpy, cv2, onnxruntime, typer": [sys.executable, "-c", "import numpy, cv2, onnxruntime, typer"],
        "cxr-edge predict one.jpeg": [program, "predict", *bundle, str(RADIOGRAPH)],
    }
    bars = [
        ("cxr-edge --help", "import typer", 2.5),
        ("cxr-edge predict one.jpeg", "import numpy, cv2, onnxruntime, typer", 1.6),
    ]
    if arguments.run:
        commands["Keras, one.jpeg"] = [sys.executable, "-c", KERAS, str(arguments.run / "model.keras"), str(RADIOGRAPH)]
        bars.append(("cxr-edge predict one.jpeg", "Keras, one.jpeg", 0.10))
    # An installed package has its bytecode beside it; a checkout gets it in the first round, unless that is forbidden.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(arguments.rounds + 1):  # the first round only warms the disk cache
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=environment)
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:<40} {1000 * value:7.1f} ms")
    for name, bare, bar in bars:
        print(f"{name} / {bare}: {median[name] / median[bare]:.2f} (bar {bar})")


if __name__ == "__main__":
    main()
