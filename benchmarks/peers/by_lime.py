"""The `lime` package on ONNX Runtime, opened as the package's users open it."""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from common import package_lime
from cxr_edge.explanation.superpixels import Superpixels
from peers.network import Floats, Network
from peers.peer import Peer

NAME = "`lime` on ONNX Runtime"
NEEDS = ("lime",)
REQUIREMENTS = "requirements-lime.txt"


def peers(network: Network, threads: int) -> list[Peer]:
    """Open a plain session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads sleep between the runs, as ours do: else they would be in everybody's way.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    bundle = network.bundle
    model = bundle.model(bundle.manifest.precisions["fp32"].file)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def predict(inputs: Floats) -> NDArray[Any]:
        return session.run(["probability"], {"pixels": inputs})[0]

    def lime(image: Floats, regions: Superpixels, *, seed: int, samples: int) -> NDArray[np.float64]:
        return package_lime(predict, image, regions, seed=seed, samples=samples)

    return [Peer(NAME, lime=lime)]
