"""What idle threads cost: sessions whose threads spin on, stop between runs (ours), or never spin.

python benchmarks/spinning.py [--rounds 40]

One session alone, and two of a kind that take turns: milliseconds and CPU milliseconds of one prediction, and the CPU
milliseconds that are burnt in the 50 ms after it.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from common import parser, table
from cxr_edge.bundle.bundle import Bundle

CONFIGS = {
    "spin on (ONNX Runtime's default)": {},
    "stop between runs (ours)": {"session.force_spinning_stop": "1"},
    "never spin (ours in watch mode)": {"session.intra_op.allow_spinning": "0"},
}
BURST, PAUSE = 6, 0.05


def opened(model: bytes, threads: int, config: dict[str, str]) -> Callable[[], object]:
    """A session as something to call."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 224, 224)).astype(np.float32)
    return lambda: session.run(["logodds"], {"pixels": pixels})


def burst(sessions: list[Callable[[], object]]) -> tuple[float, float, float]:
    """Milliseconds and CPU milliseconds of a run, and CPU milliseconds of the pause after it."""
    sessions[0]()  # the first one wakes the threads
    clock, cpu = time.perf_counter(), time.process_time()
    for number in range(BURST):
        sessions[number % len(sessions)]()
    wall, used = time.perf_counter() - clock, time.process_time() - cpu
    cpu = time.process_time()
    time.sleep(PAUSE)
    return 1000 * wall / BURST, 1000 * used / BURST, 1000 * (time.process_time() - cpu)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=40)
    arguments = options.parse_args()
    bundle = Bundle.open(Path(arguments.bundle) if arguments.bundle else None)
    model = bundle.model(bundle.manifest.precisions["fp32"].file)
    rows = []
    for count in (1, 2):
        kinds = {
            name: [opened(model, arguments.threads, config) for _ in range(count)] for name, config in CONFIGS.items()
        }
        measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in kinds}
        for _ in range(arguments.rounds):
            for name, sessions in kinds.items():
                measured[name].append(burst(sessions))
        for name, values in measured.items():
            rows.append([count, name, *(f"{statistics.median(column):.2f}" for column in zip(*values, strict=True))])
    table(["sessions", "threads between runs", "ms", "CPU ms", "CPU ms after it"], rows)


if __name__ == "__main__":
    main()
