"""Where the time goes: MobileNet against the roofline of this machine, and a profile by operator.

    python benchmarks/roofline.py [--rounds 60] [--bundle DIR] [--threads 2] [--quick]

A layer cannot be quicker than its arithmetic at the peak, nor than its activations and weights at the bandwidth
(Williams, Waterman and Patterson 2009); the roofline is the sum over the layers of the slower of the two. The peak is
the best of large matrix products by OpenBLAS (NumPy) and ONNX Runtime; the bandwidth that of ONNX Runtime's Relu on as
many bytes; both in turns with the network. A multiply-add counts as two operations. Unset OPENBLAS_CORETYPE and
OPENBLAS_L2_SIZE, should they be set.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import threadpoolctl
from onnx import TensorProto, helper, numpy_helper

from common import Options, table
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.runtime.sessions import Session, open_session
from cxr_export.edits import fold_constants
from rounds import take_turns

BAR = 0.90
RUNS = ("what", "GFLOP/s", "of the peak", "of the roofline")
PROFILE = ("operator, batch 8", "million operations", "of the time", "GFLOP/s", "of the roofline")
_SIZE = 2048
_BATCH = 8
_ACTIVATIONS = (112 * 112 * 64, 56 * 56 * 128, 28 * 28 * 256, 14 * 14 * 512, 7 * 7 * 1024)
Parts = Mapping[str, float]


@dataclass(frozen=True)
class Layer:
    """One convolution or dense layer, for one input.

    Attributes:
        part: What kind it is.
        operations: Its arithmetic.
        activations: Bytes in float32 that go in and out.
        weights: Bytes of its weights.
    """

    part: str
    operations: float
    activations: float
    weights: float


@dataclass(frozen=True)
class Roofline:
    """What was measured.

    Attributes:
        layers: What there is to do.
        peaks: Operations per second of large matrix products: ``OpenBLAS float32``, ``ONNX Runtime float32``,
            ``ONNX Runtime int8``.
        bandwidths: Bytes per second by the bytes that are read and written.
        kernel: The kernel that OpenBLAS chose.
        seconds: Per input, by precision and batch size, such as ``fp32, batch 8``.
        profile: Seconds of one input at batch 8 by operator, float32, as ONNX Runtime's profiler sees them.
    """

    layers: list[Layer]
    peaks: Parts
    bandwidths: Mapping[float, float]
    kernel: str
    seconds: Parts
    profile: Parts

    @property
    def operations(self) -> dict[str, float]:
        """Arithmetic of one input by part."""
        found: dict[str, float] = {}
        for layer in self.layers:
            found[layer.part] = found.get(layer.part, 0.0) + layer.operations
        return found

    @property
    def peak(self) -> float:
        """Float32 operations per second."""
        return max(value for name, value in self.peaks.items() if name.endswith("float32"))

    def bound(self, batch: int) -> dict[str, float]:
        """The least seconds for one input in float32, by part, at a batch size."""
        found: dict[str, float] = {}
        for layer in self.layers:
            moved = batch * layer.activations + layer.weights
            nearest = min(self.bandwidths, key=lambda size: abs(np.log(size / moved)))
            least = max(layer.operations / self.peak, moved / batch / self.bandwidths[nearest])
            found[layer.part] = found.get(layer.part, 0.0) + least
        return found

    def share(self, name: str) -> float:
        """Share of the roofline that a float32 run reaches, such as ``fp32, batch 8``."""
        return sum(self.bound(int(name.rpartition(" ")[2])).values()) / self.seconds[name]

    @property
    def summary(self) -> str:
        """The figures in words."""
        million = sum(self.operations.values()) / 2e6
        return (
            f"{million:.0f} million multiply-adds an input (one is two operations). OpenBLAS runs its {self.kernel} "
            f"kernel. {self.next_gain}"
        )

    def rows(self) -> list[list[str]]:
        """The table of runs."""
        total = sum(self.operations.values())
        rows = [
            [f"matrix product {_SIZE}³, {name}", f"{value / 1e9:.0f}", "", ""] for name, value in self.peaks.items()
        ]
        for name, seconds in self.seconds.items():
            peak = self.peak if name.startswith("fp32") else self.peaks["ONNX Runtime int8"]
            roof = f"{self.share(name):.0%}" if name.startswith("fp32") else ""
            rate = total / seconds
            rows.append([f"network, {name}", f"{rate / 1e9:.0f}", f"{rate / peak:.0%}", roof])
        return rows

    def profile_rows(self) -> list[list[str]]:
        """The table of the profile."""
        whole, bound = sum(self.profile.values()), self.bound(_BATCH)
        rows = []
        for name, seconds in sorted(self.profile.items(), key=lambda pair: -pair[1]):
            if seconds < 0.001 * whole:
                continue
            done = self.operations.get(name, 0.0)
            rate = f"{done / seconds / 1e9:.0f}" if done else ""
            roof = f"{bound[name] / seconds:.0%}" if name in bound else ""
            rows.append([name, f"{done / 1e6:.0f}", f"{seconds / whole:.1%}", rate, roof])
        return rows

    @property
    def next_gain(self) -> str:
        """Where time is left."""
        bound, whole = self.bound(_BATCH), sum(self.profile.values())
        lost = {name: seconds - bound.get(name, 0.0) for name, seconds in self.profile.items()}
        name = max(lost, key=lambda each: lost[each])
        return (
            f"Most time above the roofline is lost in {name}: {max(lost[name], 0) / whole:.0%} of a run. All layers at "
            f"the roofline would take {sum(bound.values()) / whole:.0%} of the time that the operators take now; what "
            "goes beyond that is less arithmetic (int8, fewer samples), not better kernels."
        )


def measure(bundle: Bundle, *, threads: int, rounds: int) -> Roofline:
    """Measure all of it; about half a minute at 60 rounds."""
    shares = onnx.shape_inference.infer_shapes(fold_constants(onnx.load_from_string(_network(bundle, "fp32"))))
    precisions = [name for name in ("fp32", "int8") if name in bundle.manifest.precisions]
    sessions = {name: open_session(_network(bundle, name), provider="cpu", threads=threads) for name in precisions}
    size = bundle.manifest.input
    pixels = np.random.default_rng(0).uniform(0, 255, (_BATCH, size.height, size.width)).astype(np.float32)
    products = {f"ONNX Runtime {kind}": _product(kind, threads) for kind in ("float32", "int8")}
    square = np.ones((_SIZE, _SIZE), np.float32)
    products["OpenBLAS float32"] = lambda: square @ square
    runs = {
        f"{name}, batch {batch}": lambda s=session, b=batch: s.run({"pixels": pixels[:b]}, ["probability"])
        for name, session in sessions.items()
        for batch in (1, _BATCH)
    }
    (pool,) = [
        each for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas" and "numpy" in each["filepath"]
    ]
    streams = {float(2 * 4 * _BATCH * count): _relu(_BATCH * count, threads) for count in _ACTIVATIONS}
    with threadpoolctl.threadpool_limits(threads):
        seconds = take_turns(
            {**runs, **products, **{str(size): run for size, run in streams.items()}}, rounds, warm=min(rounds, 3)
        )
    peaks = {name: 2.0 * _SIZE**3 / seconds.median(name) for name in products}
    each = {name: seconds.median(name) / int(name.rpartition(" ")[2]) for name in runs}
    kernel = str(pool.get("architecture", "unknown"))
    bandwidths = {size: size / seconds.median(str(size)) for size in streams}
    profile = _profile(bundle, shares.graph, pixels, threads)
    return Roofline(_layers(shares.graph), peaks, bandwidths, kernel, each, profile)


def _network(bundle: Bundle, precision: str) -> bytes:
    return bundle.model(bundle.manifest.precisions[precision].file)


def _part(node: onnx.NodeProto) -> str:
    if node.op_type != "Conv":
        return "dense" if node.op_type == "Gemm" else node.op_type
    attributes = {each.name: each for each in node.attribute}
    if attributes["group"].i > 1:
        return "depthwise convolution"
    return "pointwise convolution" if list(attributes["kernel_shape"].ints) == [1, 1] else "first convolution"


def _layers(graph: onnx.GraphProto) -> list[Layer]:
    shapes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.input, *graph.output]
    }
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type in {"Conv", "Gemm"}:
            taken, given = (float(np.prod(shapes[name])) for name in (node.input[0], node.output[0]))
            weights = sizes[node.input[1]]
            each = np.prod(weights[1:]) if node.op_type == "Conv" else weights[0]
            work = 2 * given * float(each)
            found.append(Layer(_part(node), work, 4 * (taken + given), 4 * float(np.prod(weights))))
    return found


def _relu(count: int, threads: int) -> Any:
    """Reads and writes so many float32."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [count]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "stream", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = open_session(model.SerializeToString(), provider="cpu", threads=threads)
    binding = session.inference.io_binding()  # the output's memory stays: no time for new pages
    binding.bind_cpu_input("x", np.ones(count, np.float32))
    output = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty(count, np.float32))
    binding.bind_ortvalue_output("y", output)
    return lambda: session.inference.run_with_iobinding(binding)


def _profile(bundle: Bundle, graph: onnx.GraphProto, pixels: np.ndarray, threads: int) -> dict[str, float]:
    # ONNX Runtime names a convolution that it has changed by what comes out of it.
    parts = {node.name: _part(node) for node in graph.node if node.op_type in {"Conv", "Gemm"}}
    for node in graph.node:
        before = next((each for each in graph.node if each.output[0] in node.input and each.op_type == "Conv"), None)
        if node.op_type == "Clip" and before is not None:
            parts[node.output[0]] = _part(before)
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
            part = next((part for known, part in parts.items() if known in name), operator)
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


def main() -> None:
    """Measure and print."""
    options = Options(__doc__).with_bundle()
    options.number("--rounds", 60, quick=1)
    arguments = options.read()
    found = measure(Bundle.open(arguments.bundle), threads=arguments.threads, rounds=arguments.rounds)
    print(f"{found.summary}\n")
    table(RUNS, found.rows())
    table(PROFILE, found.profile_rows())
    streams = [[f"{size / 1e6:.1f} MB", f"{value / 1e9:.0f} GB/s"] for size, value in found.bandwidths.items()]
    table(["read and written", "bandwidth"], streams)
    print(f"{found.share('fp32, batch 8'):.0%} of the float32 roofline at batch 8 (bar {BAR:.0%})")


if __name__ == "__main__":
    main()
