"""OpenVINO Runtime on the bundle's own ONNX files: at its own defaults, in fp32, and on the int8 network."""

from typing import Any

from peers.network import Network
from peers.peer import Peer, Predict

NAME = "OpenVINO Runtime"
DEFAULTS = f"{NAME}, its defaults"
_LOOSE = 0.1  # of a probability: what bf16 and int8 may be off
NEEDS = ("openvino",)
REQUIREMENTS = "requirements-openvino.txt"


def peers(network: Network, threads: int) -> list[Peer]:
    """Load it three times; its defaults are what a user gets, bf16 where the processor has it."""
    import openvino

    core = openvino.Core()
    precisions = network.bundle.manifest.precisions

    def load(precision: str, **options: Any) -> Predict:
        model = core.read_model(network.bundle.path(precisions[precision].file))
        request = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, **options}).create_infer_request()
        return lambda inputs: request.infer({"pixels": inputs}, share_inputs=True)["probability"]

    latency = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    found = [Peer(NAME, load("fp32", **latency)), Peer(DEFAULTS, load("fp32"), tolerance=_LOOSE)]
    if "int8" in precisions:
        found.append(Peer(f"{NAME}, int8", load("int8", **latency), tolerance=_LOOSE))
    return found
