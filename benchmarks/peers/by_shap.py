"""The `shap` package's KernelExplainer on ONNX Runtime: Shapley values of the superpixels, grey where one is absent."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation.superpixels import Superpixels
from cxr_edge.runtime.sessions import open_session
from peers.network import Floats, Network
from peers.peer import Peer

NAME = "`shap` KernelExplainer"
NEEDS = ("shap",)
REQUIREMENTS = "requirements-shap.txt"
_BATCH = 64


def peers(network: Network, threads: int) -> list[Peer]:
    """Open a session; the explainer is made anew for every radiograph, as its superpixels are."""
    import shap

    bundle = network.bundle
    session = open_session(bundle.model(bundle.manifest.precisions["fp32"].file), provider="cpu", threads=threads)

    def explain(image: Floats, regions: Superpixels, *, seed: int, samples: int) -> None:
        np.random.seed(seed)  # noqa: NPY002  # its coalitions come from NumPy's global generator

        def predict(coalitions: NDArray[Any]) -> NDArray[Any]:
            scores = []
            for start in range(0, len(coalitions), _BATCH):
                present = coalitions[start : start + _BATCH].astype(bool)[:, regions.labels]
                inputs = np.where(present, image, np.float32(image.mean())).astype(np.float32)
                scores.append(session.run({"pixels": inputs}, ["logodds"])[0])
            return np.concatenate(scores)

        explainer = shap.KernelExplainer(predict, np.zeros((1, regions.count)), silent=True)
        explainer.shap_values(np.ones((1, regions.count)), nsamples=samples, silent=True)

    return [Peer(NAME, lime=explain)]
