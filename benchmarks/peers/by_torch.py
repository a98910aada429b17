"""PyTorch, with Grad-CAM by Captum."""

from typing import Any

from numpy.typing import NDArray

from peers.network import Floats, Network
from peers.peer import Peer

NAME = "PyTorch"
NEEDS = ("torch", "captum")
REQUIREMENTS = "requirements-torch.txt"


def peers(network: Network, threads: int) -> list[Peer]:
    """Load it."""
    import torch
    from captum.attr import LayerGradCam

    torch.set_num_threads(threads)
    module = network.torch
    attribution = LayerGradCam(module, module.body)

    def predict(inputs: Floats) -> NDArray[Any]:
        with torch.inference_mode():
            return network.probability(module(torch.from_numpy(inputs)).numpy())

    def gradcam(image: Floats) -> NDArray[Any]:
        found = attribution.attribute(torch.from_numpy(image[None]), target=1, relu_attributions=True)
        return found[0, 0].detach().numpy()

    return [Peer("PyTorch, Grad-CAM by Captum", predict, gradcam)]
