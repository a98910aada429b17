"""OpenVINO Runtime on the bundle's own ONNX file."""

from typing import Any

from numpy.typing import NDArray

from peers.network import Floats, Network
from peers.peer import Peer

NAME = "OpenVINO Runtime"
NEEDS = ("openvino",)
REQUIREMENTS = "requirements-openvino.txt"


def peers(network: Network, threads: int) -> list[Peer]:
    """Load it, tuned for the latency of one input."""
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = openvino.Core()
    classifier = network.bundle.manifest.precisions["fp32"].file
    compiled = core.compile_model(core.read_model(network.bundle.path(classifier)), "CPU", options)
    request = compiled.create_infer_request()

    def predict(inputs: Floats) -> NDArray[Any]:
        return request.infer({"pixels": inputs}, share_inputs=True)["probability"]

    return [Peer(NAME, predict)]
