"""How far a descriptor lies from those of radiographs: Mahalanobis distance (Lee et al. 2018) of low rank.

The covariance of the standardised channels is taken as its leading principal directions with one common variance for
all others (Tipping and Bishop 1999): it needs fewer radiographs than channels, and a file of less than a megabyte.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cxr_edge.runtime.networks import DESCRIPTOR
from cxr_export.simplify import IR_VERSION

RANK = 128
_OPSET = 18
_FLOOR = 0.05
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Distance:
    """The distribution of the descriptors of radiographs.

    Attributes:
        mean: float32 [D].
        scale: float32 [D]: the channels' standard deviations, no smaller than a share of their mean.
        directions: float32 [D, K]: the leading principal directions of the standardised channels.
        variances: float32 [K]: the variances along them.
        rest: The mean variance along all others.
    """

    mean: Floats
    scale: Floats
    directions: Floats
    variances: Floats
    rest: float

    @classmethod
    def of(cls, descriptors: Floats) -> Distance:
        """Learns it from the descriptors of radiographs, float32 [N, D]; K is 128, or less where N or D is small."""
        count, width = descriptors.shape
        mean, deviation = descriptors.mean(0, np.float64), descriptors.std(0, dtype=np.float64)
        # A channel that is silent on radiographs must neither divide by zero nor outweigh all others.
        scale = deviation + _FLOOR * deviation.mean() + 1e-6
        standard = (descriptors - mean) / scale
        values, vectors = np.linalg.eigh(standard.T @ standard / count)
        values, vectors = np.maximum(values[::-1], 1e-6), vectors[:, ::-1]
        rank = max(1, min(RANK, width // 2, count // 4))
        return cls(
            mean=mean.astype(np.float32),
            scale=scale.astype(np.float32),
            directions=vectors[:, :rank].astype(np.float32),
            variances=values[:rank].astype(np.float32),
            rest=float(values[rank:].mean()) if width > rank else 1.0,
        )

    def graph(self) -> onnx.ModelProto:
        """Writes ``gate.onnx``: ``descriptor`` float32 [N, D] → ``score`` float32 [N], ≥ 0.

        score² = (Σ_k p_k² / variance_k + (|z|² - |p|²) / rest) / D with the standardised descriptor z and
        p = z · directions: about 1 for a radiograph like those it was learned from.
        """
        constants = {
            "mean": self.mean,
            "scale": self.scale,
            "directions": self.directions,
            "variances": self.variances,
            "rest": np.float32(self.rest),
            "width": np.float32(len(self.mean)),
            "channels": np.array([1], np.int64),
        }
        steps = [
            ("Sub", ["descriptor", "mean"], "centred"),
            ("Div", ["centred", "scale"], "standard"),
            ("MatMul", ["standard", "directions"], "within"),
            ("Mul", ["within", "within"], "within_squared"),
            ("Div", ["within_squared", "variances"], "within_relative"),
            ("ReduceSum", ["within_relative", "channels"], "within_sum"),
            ("ReduceSumSquare", ["standard", "channels"], "whole"),
            ("ReduceSum", ["within_squared", "channels"], "explained"),
            ("Sub", ["whole", "explained"], "residual"),
            ("Relu", ["residual"], "positive"),
            ("Div", ["positive", "rest"], "residual_relative"),
            ("Add", ["within_sum", "residual_relative"], "sum"),
            ("Div", ["sum", "width"], "squared"),
            ("Sqrt", ["squared"], "score"),
        ]
        nodes = [helper.make_node(kind, taken, [given]) for kind, taken, given in steps]
        for node in nodes:
            if node.op_type.startswith("ReduceSum"):
                node.attribute.append(helper.make_attribute("keepdims", 0))
        graph = helper.make_graph(
            nodes,
            "gate",
            [helper.make_tensor_value_info(DESCRIPTOR, TensorProto.FLOAT, ["N", len(self.mean)])],
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=IR_VERSION,
            producer_name="cxr-export",
        )
        onnx.checker.check_model(model, full_check=True)
        return model
