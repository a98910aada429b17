"""Where the time goes: MobileNet's arithmetic against what this machine's kernels reach, and a profile by operator.

    python benchmarks/roofline.py [--rounds 60] [--bundle DIR] [--threads 2]

The peak is the best of large matrix products by OpenBLAS (NumPy) and by ONNX Runtime, measured in processes of their
own, in turns with the network. A multiply-add counts as two operations.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from common import parser, table
from cxr_edge.bundle import Bundle
from cxr_edge.sessions import Session, open_session
from peers.rounds import take_turns

BAR = 0.90
_SIZE = 2048
_BLAS = """
import json, sys, time, numpy, threadpoolctl
n = int(sys.argv[1])
a, b = numpy.ones((n, n), numpy.float32), numpy.ones((n, n), numpy.float32)
a @ b
seconds = []
for _ in range(8):
    start = time.perf_counter()
    a @ b
    seconds.append(time.perf_counter() - start)
(pool,) = [each for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]
print(json.dumps({"seconds": min(seconds), "kernel": pool.get("architecture", "unknown"), "threads": pool["num_threads"]}))
"""
Parts = Mapping[str, float]


@dataclass(frozen=True)
class Roofline:
    """What was measured.

    Attributes:
        operations: Arithmetic of one input by part, in operations.
        peaks: Operations per second of large matrix products: ``OpenBLAS float32``, ``ONNX Runtime float32``,
            ``ONNX Runtime int8``.
        kernel: The kernel that OpenBLAS chose.
        seconds: Per input, by precision and batch size, such as ``fp32, batch 8``.
        profile: Seconds of one input at batch 8 by operator, float32, as ONNX Runtime's profiler sees them.
    """

    operations: Parts
    peaks: Parts
    kernel: str
    seconds: Parts
    profile: Parts

    @property
    def peak(self) -> float:
        """Float32 operations per second."""
        return max(value for name, value in self.peaks.items() if name.endswith("float32"))

    def share(self, name: str) -> float:
        """Share of the peak of its precision that a run reaches."""
        peak = self.peaks["ONNX Runtime int8"] if name.startswith("int8") else self.peak
        return sum(self.operations.values()) / self.seconds[name] / peak

    def rows(self) -> list[list[str]]:
        """The table of runs."""
        total = sum(self.operations.values())
        rows = [[f"matrix product {_SIZE}³, {name}", f"{value / 1e9:.0f}", ""] for name, value in self.peaks.items()]
        return rows + [
            [f"network, {name}", f"{total / seconds / 1e9:.0f}", f"{self.share(name):.0%}"]
            for name, seconds in self.seconds.items()
        ]

    def profile_rows(self) -> list[list[str]]:
        """The table of the profile."""
        whole = sum(self.profile.values())
        rows = []
        for name, seconds in sorted(self.profile.items(), key=lambda pair: -pair[1]):
            done = self.operations.get(name, 0.0)
            rate = f"{done / seconds / 1e9:.0f}" if done else ""
            rows.append([name, f"{done / 1e6:.0f}", f"{seconds / whole:.1%}", rate])
        return rows

    @property
    def next_gain(self) -> str:
        """What would be gained if a part that is slower than pointwise convolution, or is no arithmetic, were free."""
        whole = sum(self.profile.values())
        rest = {name: value for name, value in self.profile.items() if name != "pointwise convolution"}
        name = max(rest, key=lambda each: rest[each])
        at_peak = sum(self.operations.values()) / self.peak
        return (
            f"outside of pointwise convolution, {name} takes most: {rest[name] / whole:.0%} of the time with "
            f"{self.operations.get(name, 0.0) / sum(self.operations.values()):.0%} of the arithmetic. All float32 "
            f"kernels at the peak would bring the network to {at_peak / self.seconds['fp32, batch 8']:.0%} of its time; "
            "what goes beyond that is less arithmetic (int8, fewer samples), not better kernels."
        )


def measure(bundle: Bundle, *, threads: int, rounds: int) -> Roofline:
    """Measure all of it; about half a minute at 60 rounds."""
    shares = onnx.shape_inference.infer_shapes(onnx.load_from_string(_network(bundle, "fp32")))
    precisions = [name for name in ("fp32", "int8") if name in bundle.manifest.precisions]
    sessions = {
        name: open_session(_network(bundle, name), provider="cpu", threads=threads) for name in precisions
    }
    size = bundle.manifest.input
    pixels = np.random.default_rng(0).uniform(0, 255, (8, size.height, size.width)).astype(np.float32)
    products = {f"ONNX Runtime {kind}": _product(kind, threads) for kind in ("float32", "int8")}
    runs = {
        f"{name}, batch {batch}": lambda s=session, b=batch: s.run({"pixels": pixels[:b]}, ["probability"])
        for name, session in sessions.items()
        for batch in (1, 8)
    }
    seconds = take_turns({**runs, **products}, rounds, warm=3)
    work = 2.0 * _SIZE**3
    kernel, blas = _blas(threads)
    peaks = {"OpenBLAS float32": work / blas}
    # The peak is what the machine can do, not what it does on average: the best round, as for OpenBLAS.
    peaks |= {name: work / min(seconds.by_name[name]) for name in products}
    each = {name: seconds.median(name) / int(name.rpartition(" ")[2]) for name in runs}
    return Roofline(_operations(shares.graph), peaks, kernel, each, _profile(bundle, shares.graph, pixels, threads))


def _network(bundle: Bundle, precision: str) -> bytes:
    return bundle.model(bundle.manifest.precisions[precision].file)


def _part(node: onnx.NodeProto) -> str:
    if node.op_type != "Conv":
        return "dense" if node.op_type == "Gemm" else node.op_type
    attributes = {each.name: each for each in node.attribute}
    if attributes["group"].i > 1:
        return "depthwise convolution"
    return "pointwise convolution" if list(attributes["kernel_shape"].ints) == [1, 1] else "first convolution"


def _operations(graph: onnx.GraphProto) -> dict[str, float]:
    shapes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output]
    }
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    found: dict[str, float] = {}
    for node in graph.node:
        if node.op_type in {"Conv", "Gemm"}:
            outputs = float(np.prod(shapes[node.output[0]]))
            weights = sizes[node.input[1]]
            each = np.prod(weights[1:]) if node.op_type == "Conv" else weights[0]
            found[_part(node)] = found.get(_part(node), 0.0) + 2 * outputs * float(each)
    return found


def _profile(bundle: Bundle, graph: onnx.GraphProto, pixels: np.ndarray, threads: int) -> dict[str, float]:
    parts = {node.name: _part(node) for node in graph.node if node.op_type in {"Conv", "Gemm"}}
    runs = 20
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = os.fspath(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(_network(bundle, "fp32"), options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(["probability"], {"pixels": pixels})
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    found: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            operator = event["args"]["op_name"]
            part = next((part for known, part in parts.items() if name.startswith(known)), operator)
            part = part if operator in {"Conv", "FusedConv", "Gemm", "FusedGemm"} else operator
            found.setdefault(part, []).append(event["dur"] * 1e-6)
    return {part: sum(values) / runs / len(pixels) for part, values in found.items()}


def _product(kind: str, threads: int) -> Any:
    """A large matrix product with constant weights in ONNX Runtime."""
    random = np.random.default_rng(0)
    if kind == "float32":
        left, right = np.ones((_SIZE, _SIZE), np.float32), np.ones((_SIZE, _SIZE), np.float32)
        operator, taken, given = "MatMul", TensorProto.FLOAT, TensorProto.FLOAT
    else:
        left = random.integers(0, 128, (_SIZE, _SIZE), np.uint8)
        right = random.integers(-64, 64, (_SIZE, _SIZE), np.int8)
        operator, taken, given = "MatMulInteger", TensorProto.UINT8, TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", taken, [_SIZE, _SIZE])],
        [helper.make_tensor_value_info("c", given, [_SIZE, _SIZE])],
        [numpy_helper.from_array(right, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session: Session = open_session(model.SerializeToString(), provider="cpu", threads=threads)
    return lambda: session.run({"a": left}, ["c"])


def _blas(threads: int) -> tuple[str, float]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    environment["OPENBLAS_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-c", _BLAS, str(_SIZE)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout)
    return str(found["kernel"]), float(found["seconds"])


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=60)
    arguments = options.parse_args()
    found = measure(Bundle.open(arguments.bundle), threads=arguments.threads, rounds=arguments.rounds)
    total = sum(found.operations.values())
    print(f"{total / 2e6:.0f} million multiply-adds an input, {arguments.threads} threads, OpenBLAS: {found.kernel}\n")
    table(["what", "GFLOP/s", "of the peak"], found.rows())
    table(["operator, batch 8", "million operations", "of the time", "GFLOP/s"], found.profile_rows())
    print(f"{found.share('fp32, batch 8'):.0%} of the float32 peak at batch 8 (bar {BAR:.0%}); {found.next_gain}")


if __name__ == "__main__":
    main()
