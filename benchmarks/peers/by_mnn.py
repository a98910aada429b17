"""MNN, converted from the bundle's ONNX file by its own converter, at its own defaults."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peers.network import Floats, Network
from peers.peer import Peer

NAME = "MNN"
NEEDS = ("MNN",)
REQUIREMENTS = "requirements-mnn.txt"
_CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
"""Not ``mnnconvert`` itself: it installs a package into whatever ``pip`` is at hand and sends the machine's id away."""


def peers(network: Network, threads: int) -> list[Peer]:
    """Convert and load it."""
    import MNN

    source = network.bundle.path(network.bundle.manifest.precisions["fp32"].file)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "network.mnn")
        convert = [sys.executable, "-c", _CONVERT, "-f", "ONNX", "--bizCode", "peers"]
        subprocess.run([*convert, "--modelFile", str(source), "--MNNModel", file], check=True, capture_output=True)
        runtime = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": threads},))
        module = MNN.nn.load_module_from_file(file, ["pixels"], ["probability"], runtime_manager=runtime)

    def predict(inputs: Floats) -> NDArray[Any]:
        pixels = MNN.expr.const(inputs, list(inputs.shape), MNN.expr.NCHW)
        return np.array(module.forward([pixels])[0].read())

    return [Peer(NAME, predict)]
