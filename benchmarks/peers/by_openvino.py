"""OpenVINO Runtime on the bundle's own ONNX files: at its own defaults, in fp32, on our int8 network and on NNCF's."""

from typing import Any

from cxr_edge.runtime.reference import read_reference
from peers.network import Network
from peers.peer import Peer, Predict

NAME = "OpenVINO Runtime"
DEFAULTS = f"{NAME}, its defaults"
BARE = f"{NAME}, int8 network of cxr-edge"
_LOOSE = 0.1  # of a probability: what bf16 and int8 may be off
NEEDS = ("openvino", "nncf")
REQUIREMENTS = "requirements-openvino.txt"


def peers(network: Network, threads: int) -> list[Peer]:
    """Load it four times; its defaults are what a user gets, bf16 where the processor has it."""
    import nncf
    import openvino

    core = openvino.Core()
    precisions = network.bundle.manifest.precisions

    def read(precision: str) -> Any:
        return core.read_model(network.bundle.path(precisions[precision].file))

    def load(model: Any, **options: Any) -> Predict:
        request = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, **options}).create_infer_request()
        return lambda inputs: request.infer({"pixels": inputs}, share_inputs=True)["probability"]

    latency = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    found = [Peer(NAME, load(read("fp32"), **latency)), Peer(DEFAULTS, load(read("fp32")), tolerance=_LOOSE)]
    if "int8" in precisions:
        found.append(Peer(BARE, load(read("int8"), **latency), tolerance=_LOOSE))
    images = [image[None] for image in read_reference(network.bundle)[0].inputs]
    quantized = nncf.quantize(read("fp32"), nncf.Dataset(images))
    return [*found, Peer(f"{NAME}, int8 by NNCF", load(quantized), tolerance=_LOOSE)]
