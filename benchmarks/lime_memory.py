"""Peak resident memory of a LIME call, by sample count, each in a process of its own.

python benchmarks/lime_memory.py
"""

import json
import resource
import subprocess
import sys

from common import engine, inputs_of, model_for, parser, table
from common import test_files as choose_files

COUNTS = (500, 5000)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--child", nargs=2, metavar=("MODE", "SAMPLES"), default=None, help="used by itself")
    arguments = options.parse_args()
    if arguments.child:
        mode, samples = arguments.child[0], int(arguments.child[1])
        lime = engine(model_for(arguments))
        image = inputs_of(choose_files(arguments.data, 2))[1]
        explain = lime.explain if mode == "fast" else lime.explain_reference
        used = explain(image, "PNEUMONIA", samples=samples).estimate.samples
        print(json.dumps([used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
        return
    rows = []
    for mode in ("reference", "fast"):
        peaks = []
        for samples in COUNTS:
            command = [sys.executable, __file__, *sys.argv[1:], "--child", mode, str(samples)]
            used, peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rows.append([mode, used, f"{peak:.0f} MB"])
            peaks.append(peak)
        rows.append([mode, "growth", f"{peaks[1] - peaks[0]:+.1f} MB"])
    table(["mode", "samples", "peak resident"], rows)


if __name__ == "__main__":
    main()
