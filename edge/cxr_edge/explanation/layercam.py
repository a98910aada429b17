"""LayerCAM and HiResCAM from the gradients at several layers, which the network itself computes in one run."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError
from cxr_edge.explanation.gradcam import SaliencyMap, check_finite
from cxr_edge.runtime.networks import HIRESCAM, LAYERCAM, open_layercam
from cxr_edge.runtime.providers import Provider

Map = NDArray[np.float32]


class LayerCam:
    """The network with its backward pass.

    It is the float32 network whatever the precision of the answer: the gradient of an int8 network is not defined.

    Args:
        bundle: An opened bundle.
        provider: See `open_session`.
        threads: See `open_session`.

    Raises:
        BundleError: The bundle has no LayerCAM, or it does not fit.
        ProviderError: See `open_session`.
    """

    def __init__(self, bundle: Bundle, *, provider: Provider = "auto", threads: int | None = None) -> None:
        self.session = open_layercam(bundle, provider=provider, threads=threads)
        spec = bundle.manifest.layercam
        if spec is None:  # what `open_layercam` has refused
            raise BundleError("the bundle has no LayerCAM")
        self._shapes = [(layer.height, layer.width) for layer in spec.layers]
        self._ends = np.cumsum([height * width for height, width in self._shapes])[:-1]
        self._positive = bundle.manifest.positive

    def explain(self, image: Map, target: str, *, known: Mapping[str, Map] | None = None) -> SaliencyMap:
        """Map where an input speaks for a label, by LayerCAM over all layers.

        A layer's map is ReLU(Σ_k ReLU(g_k)·A_k), A the layer's activation and g the gradient of the label's log-odds
        with respect to it (Jiang et al. 2021, equations 6 to 8). Each map is divided by its peak and spread bilinearly
        over the cells of the finest layer; there the largest counts (section III-C: fusion by the elementwise maximum).

        Args:
            image: float32 [height, width] in 0..255, from `to_input`.
            target: One of the bundle's labels.
            known: `Prediction.maps`; where they hold the map, the network does not run again.

        Returns:
            The fused map, 0..1, with those that it was made of.

        Raises:
            InputError: A map is not finite.
        """
        layers = self._cut(self._run(LAYERCAM, image, known)[int(target == self._positive)])
        height, width = self._shapes[-1]
        spread = [SaliencyMap(layer, "layercam", target).upsample(height, width) for layer in layers]
        return SaliencyMap(np.max(spread, axis=0), "layercam", target, layers)

    def hirescam(self, image: Map, target: str, *, known: Mapping[str, Map] | None = None) -> SaliencyMap:
        """Map where an input speaks for a label, by HiResCAM one layer before the last.

        ReLU(Σ_k g_k·A_k) (Draelos and Carin 2020, equation 3). At the last layer it would be Grad-CAM: behind global
        average pooling the gradient is the same everywhere.

        Args:
            image: float32 [height, width] in 0..255, from `to_input`.
            target: One of the bundle's labels.
            known: See `explain`.

        Raises:
            InputError: The map is not finite.
        """
        signed = self._cut(self._run(HIRESCAM, image, known))[:2][-1]
        sign = np.float32(1 if target == self._positive else -1)
        return SaliencyMap(np.maximum(sign * signed, 0), "hirescam", target)

    def _run(self, output: str, image: Map, known: Mapping[str, Map] | None) -> Map:
        if known and output in known:
            return known[output]
        return self.session.run({"pixels": image[None]}, [output])[0][0]

    def _cut(self, cells: Map) -> tuple[Map, ...]:
        """Turn the cells of all layers into the map of each."""
        check_finite(cells, "its map")
        return tuple(part.reshape(shape) for part, shape in zip(np.split(cells, self._ends), self._shapes, strict=True))
