"""DIANNA, LIME and RISE, handed the ONNX file: it opens a session of its own for every batch."""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.explanation.superpixels import Superpixels
from peers.network import Floats, Network
from peers.peer import Peer

NAME = "DIANNA"
NEEDS = ("dianna",)
REQUIREMENTS = "requirements-dianna.txt"
_AXES = {2: "channels"}


def peers(network: Network, threads: int) -> list[Peer]:  # noqa: ARG001  # it takes all cores
    """Write the file that it opens."""
    from dianna.methods.lime_image import LIMEImage
    from dianna.methods.rise_image import RISEImage

    folder = tempfile.TemporaryDirectory()
    model = Path(folder.name) / "two-classes.onnx"
    model.write_bytes(network.two_classes)

    def explain(method: Any, image: Floats, **options: Any) -> NDArray[Any]:
        assert folder.name  # it lives as long as this function
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            (found,) = method.explain(str(model), image[:, :, None], labels=[1], **options)
        return found

    def lime(image: Floats, regions: Superpixels, *, seed: int, samples: int) -> NDArray[np.float64]:
        # Its own default kernel is a hundred times wider than that of the `lime` package, and weighs nothing.
        options: dict[str, Any] = {"axis_labels": dict(_AXES), "preprocess_function": _grey}
        method = LIMEImage(kernel_width=0.25, random_state=seed, **options)
        values = explain(
            method,
            image,
            num_samples=samples,
            num_features=regions.count,
            return_masks=False,
            segmentation_fn=lambda _: regions.labels,
        )
        return np.array([values[regions.labels == label][0] for label in range(regions.count)])

    def rise(image: Floats, regions: Superpixels, *, seed: int, samples: int) -> None:  # noqa: ARG001  # has none
        np.random.seed(seed)  # noqa: NPY002  # its masks come from NumPy's global generator
        explain(RISEImage(n_masks=samples, axis_labels=dict(_AXES), preprocess_function=_grey), image)

    return [Peer("DIANNA, LIME", lime=lime), Peer("DIANNA, RISE", lime=rise)]


def _grey(inputs: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(inputs[..., 0], np.float32)
