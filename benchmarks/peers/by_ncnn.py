"""ncnn, converted from PyTorch by its own pnnx, at its own defaults."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peers.network import Floats, Network
from peers.peer import Peer

NAME = "ncnn"
NEEDS = ("ncnn", "pnnx", "torch")
REQUIREMENTS = "requirements-ncnn.txt"


def peers(network: Network, threads: int) -> list[Peer]:
    """Convert and load it."""
    import ncnn
    import pnnx
    import torch

    class OfOneChannel(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network.torch

        def forward(self, pixels: Any) -> Any:
            features = self.network.body(pixels + self.network.offset)
            return self.network.logits(torch.relu(self.network.hidden(features.mean((2, 3)))))

    size = network.bundle.manifest.input
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.pt"
        pnnx.export(OfOneChannel().eval(), str(file), torch.zeros(1, 1, size.height, size.width), fp16=False)
        net = ncnn.Net()
        net.opt.num_threads = threads
        net.load_param(str(file.with_name("network.ncnn.param")))
        net.load_model(str(file.with_name("network.ncnn.bin")))

    def predict(inputs: Floats) -> NDArray[Any]:
        logits = []
        for image in inputs:  # it knows no batches
            run = net.create_extractor()
            run.input("in0", ncnn.Mat(image[None]).clone())  # it frees what it is given
            logits.append(np.array(run.extract("out0")[1]))
        return network.probability(np.array(logits))

    return [Peer(NAME, predict)]
