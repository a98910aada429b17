"""Grad-CAM from the features of a prediction already made; the network itself does not run again."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import InputError
from cxr_edge.explanation import CamMethod
from cxr_edge.runtime.networks import open_gradcam


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """How much each cell of a convolutional map speaks for a class.

    Attributes:
        raw: float32 [h, w], ≥ 0, in units of the class's logit per cell, before any scaling; of several layers, the
            fused map, 0..1.
        method: Which map.
        target: The label that it speaks for.
        layers: The maps of the single layers that ``raw`` was fused of, coarse to fine, in units of the log-odds per
            cell; empty where it is the map of one layer.
    """

    raw: NDArray[np.float32]
    method: CamMethod
    target: str
    layers: tuple[NDArray[np.float32], ...] = ()

    @property
    def peak(self) -> float:
        """The largest value of ``raw``, which `normalised` divides by; 0 where nothing speaks for the class."""
        return float(self.raw.max())

    @property
    def normalised(self) -> NDArray[np.float32]:
        """``raw`` divided by its peak: float32 [h, w] in 0..1, or all 0."""
        return self.raw / np.float32(self.peak) if self.peak > 0 else self.raw

    def upsample(self, height: int, width: int) -> NDArray[np.float32]:
        """Spread the normalised map over a picture of any size and aspect ratio.

        The input was squashed, so that each cell covers ``width/w`` by ``height/h`` pixels of the original. Between the
        centres of the cells the map is bilinear: no value lies above or below those of the cells around it, so that
        no peak and no edge is drawn that the network did not compute.

        Returns:
            float32 [height, width] in 0..1.
        """
        return np.asarray(cv2.resize(self.normalised, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)

    def to_json(self) -> dict[str, object]:
        """Give the raw map and how it is scaled for display."""
        kind = "divide each layer by its peak, take the largest" if self.layers else "divide by peak"
        return {
            "method": self.method,
            "target": self.target,
            "normalisation": {"kind": kind, "peak": self.peak},
            "raw": [[float(value) for value in row] for row in self.raw],
        }


class GradCam:
    """The head's gradient and the maps made of it.

    Args:
        bundle: An opened bundle.

    Raises:
        BundleError: See `open_gradcam`.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.session = open_gradcam(bundle)
        self.labels = tuple(bundle.manifest.labels)
        self._positive = self.labels.index(bundle.manifest.positive)

    def gradients(self, features: NDArray[np.float32], target: str) -> NDArray[np.float32]:
        """Differentiate the logit of a label of the bundle by the features: float32 [h, w, c], like ``features``."""
        return self._run(features, target, "gradients")

    def logodds_gradients(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Differentiate the log-odds of the positive label by the features: float32 [h, w, c]."""
        negative = self.labels[1 - self._positive]
        return self.gradients(features, self.labels[self._positive]) - self.gradients(features, negative)

    def explain(self, features: NDArray[np.float32], target: str, *, method: CamMethod = "gradcam") -> SaliencyMap:
        """Map where the features speak for a class.

        ``gradcam`` (Selvaraju et al. 2017, equations 1 and 2): ReLU(Σ_k a_k F_k), a_k the mean over the map of
        ∂logit/∂F_k. ``hirescam`` (Draelos and Carin 2020): ReLU(Σ_k ∂logit/∂F_k · F_k), each place with its own
        gradient; after global average pooling the gradient is the same everywhere and the two agree.
        ``gradcam++`` (Chattopadhay et al. 2018, equation 19, for a score exp(logit)): positive gradients only,
        weighted by g² / (2g² + g³ ΣF).

        Args:
            features: float32 [h, w, c], `Prediction.features`.
            target: One of the bundle's labels.
            method: Which map.

        Raises:
            InputError: The features or the map are not finite.
        """
        check_finite(features, "its features")
        if method == "gradcam":
            raw = self._run(features, target, "map")
        elif method == "hirescam":
            raw = np.maximum((self.gradients(features, target) * features).sum(axis=2), 0.0)
        else:
            raw = _plus_plus(features, self.gradients(features, target))
        check_finite(raw, "its map")
        return SaliencyMap(raw, method, target)

    def _run(self, features: NDArray[np.float32], target: str, output: str) -> NDArray[np.float32]:
        index = np.array([self.labels.index(target)], np.int64)
        value: NDArray[np.float32] = self.session.run({"features": features[None], "target": index}, [output])[0][0]
        return value


def check_finite(values: NDArray[np.floating[Any]], subject: str) -> None:
    """Refuse what is no number, before anything is drawn or recorded of it.

    Raises:
        InputError: A value is NaN or infinite; no other input is concerned.
    """
    if not np.isfinite(values).all():
        problem = f"the network gives no finite number for {subject}"
        raise InputError(problem, kind="not-finite", cure="check how it was stored")


def _plus_plus(features: NDArray[np.float32], gradients: NDArray[np.float32]) -> NDArray[np.float32]:
    square = gradients * gradients
    bottom = 2.0 * square + square * gradients * features.sum(axis=(0, 1))
    alpha = np.divide(square, bottom, out=np.zeros_like(square), where=np.abs(bottom) > np.float32(1e-20))
    weights = (alpha * np.maximum(gradients, 0.0)).sum(axis=(0, 1))
    return np.asarray(np.maximum(features @ weights, 0.0), np.float32)
