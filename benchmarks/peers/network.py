"""The bundle's network in the forms that its peers take, with the same weights: Keras, plain ONNX, two-class ONNX.

The batch normalisation is folded into the convolutions of the bundle; in Keras it becomes the identity with a bias.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cxr_edge.bundle.bundle import Bundle
from cxr_export.edits import fold_constants

Floats = NDArray[np.float32]
_RELU6 = 6.0


@dataclass(frozen=True, eq=False)
class Layers:
    """What a bundle's float32 MobileNet consists of.

    Attributes:
        convolutions: Kernel [out, in / groups, height, width] and bias [out] of each, in order.
        dense: Weights [in, out] and bias [out] of the two dense layers.
        offset: What is added to the pixels in front.
        scale: Of the calibration.
        bias: Of the calibration.
    """

    convolutions: list[tuple[Floats, Floats]]
    dense: list[tuple[Floats, Floats]]
    offset: float
    scale: float
    bias: float

    @classmethod
    def of(cls, bundle: Bundle) -> "Layers":
        """Read them from the classifier's graph."""
        network = onnx.load_from_string(bundle.model(bundle.manifest.precisions["fp32"].file))
        graph = fold_constants(network).graph
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        weights = {
            kind: [(values[node.input[1]], values[node.input[2]]) for node in graph.node if node.op_type == kind]
            for kind in ("Conv", "Gemm")
        }
        add = next(node for node in graph.node if node.op_type == "Add")
        calibration = bundle.manifest.calibration
        return cls(weights["Conv"], weights["Gemm"], float(values[add.input[1]]), calibration.scale, calibration.bias)


class Network:
    """A bundle's network; each form is made when it is first asked for.

    Args:
        bundle: An opened bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.layers = Layers.of(bundle)

    def probability(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Logits [n, 2] of a peer → calibrated probability [n]."""
        odds = (np.float64(logits[:, 1]) - logits[:, 0]) * self.layers.scale + self.layers.bias
        return 1 / (1 + np.exp(-odds))

    @cached_property
    def keras(self) -> Any:
        """The Keras model, pixels [n, height, width] → logits [n, 2]."""
        from cxr_train.network import build_network

        spec, layers = self.bundle.manifest.input, self.layers
        network = build_network("mobilenet", height=spec.height, width=spec.width)
        names = ["conv1", *(f"conv_{kind}_{block}" for block in range(1, 14) for kind in ("dw", "pw"))]
        for name, (kernel, bias) in zip(names, layers.convolutions, strict=True):
            if name == "conv1":  # three equal channels of pixels / 127.5 - 1 instead of one of pixels + offset
                kernel = np.repeat(kernel * np.float32(-layers.offset / 3), 3, axis=1)  # noqa: PLW2901
            order = (2, 3, 0, 1) if "_dw_" in name else (2, 3, 1, 0)
            network.get_layer(name).set_weights([kernel.transpose(order)])
            normalisation = network.get_layer(f"{name}_bn")
            one, zero = np.ones_like(bias), np.zeros_like(bias)
            normalisation.set_weights([one, bias, zero, one - normalisation.epsilon])
        for name, weights in zip(("hidden", "logits"), layers.dense, strict=True):
            network.get_layer(name).set_weights(list(weights))
        return network

    @cached_property
    def two_classes(self) -> bytes:
        """The bundle's ONNX file with one output, probabilities [n, 2]: what other explainers take."""
        model = onnx.load_from_string(self.bundle.model(self.bundle.manifest.precisions["fp32"].file))
        graph = model.graph
        constants = {"one": np.float32(1), "axis": np.array([1], np.int64)}
        graph.initializer.extend(numpy_helper.from_array(np.asarray(v), f"peers/{k}") for k, v in constants.items())
        graph.node.extend(
            [
                helper.make_node("Sub", ["peers/one", "probability"], ["peers/other"]),
                helper.make_node("Unsqueeze", ["peers/other", "peers/axis"], ["peers/first"]),
                helper.make_node("Unsqueeze", ["probability", "peers/axis"], ["peers/second"]),
                helper.make_node("Concat", ["peers/first", "peers/second"], ["probabilities"], axis=1),
            ]
        )
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["N", 2]))
        return bytes(model.SerializeToString())

    @cached_property
    def torch(self) -> Any:
        """A PyTorch module, pixels [n, height, width] → logits [n, 2]; ``body`` ends in the last feature map."""
        import torch

        class MobileNet(torch.nn.Module):
            def __init__(self, layers: Layers) -> None:
                super().__init__()
                steps: list[torch.nn.Module] = []
                side = 1
                for kernel, bias in layers.convolutions:
                    out, inner, size, _ = kernel.shape
                    channels, groups = (out, out) if inner == 1 and side > 1 else (inner, 1)
                    stride = 2 if len(steps) in _STRIDED else 1
                    steps.append(_convolution(torch, kernel, bias, channels, out, size, groups, stride))
                    side = out
                self.body = torch.nn.Sequential(*steps)
                self.hidden, self.logits = (_dense(torch, *each) for each in layers.dense)
                self.offset = layers.offset

            def forward(self, pixels: Any) -> Any:
                features = self.body(pixels[:, None] + self.offset)
                return self.logits(torch.relu(self.hidden(features.mean((2, 3)))))

        return MobileNet(self.layers).eval()


_STRIDED = (0, 3, 7, 11, 23)  # conv1 and the depthwise convolutions 2, 4, 6 and 12


def _convolution(
    torch: Any, kernel: Floats, bias: Floats, channels: int, out: int, size: int, groups: int, stride: int
) -> Any:
    layer = torch.nn.Conv2d(channels, out, size, stride, groups=groups)
    layer.weight.data, layer.bias.data = torch.tensor(kernel), torch.tensor(bias)
    # Keras pads a strided convolution at the bottom and the right only.
    sides = (0, 1, 0, 1) if stride == 2 else (size // 2,) * 4
    return torch.nn.Sequential(torch.nn.ZeroPad2d(sides), layer, torch.nn.Hardtanh(0.0, _RELU6))


def _dense(torch: Any, weights: Floats, bias: Floats) -> Any:
    layer = torch.nn.Linear(*weights.shape)
    layer.weight.data, layer.bias.data = torch.tensor(weights.T.copy()), torch.tensor(bias)
    return layer


def plain_export(bundle: Bundle, run: Path | None = None) -> bytes:
    """What tf2onnx makes of the Keras network, nothing folded.

    Args:
        bundle: Whose weights are put back into Keras.
        run: The run that it was exported from, taken instead.
    """
    from cxr_export.convert import Exportable, classifier_graph

    if run is not None:
        return bytes(classifier_graph(Exportable.open(run)).SerializeToString())
    import keras

    network = Network(bundle).keras
    pooled = network.get_layer("pooled")
    calibration = bundle.manifest.calibration
    size = bundle.manifest.input
    stand_in: Any = SimpleNamespace(
        body=keras.Model(network.inputs[0], pooled.input),
        head=keras.Model(pooled.output, network.outputs[0]),
        scale=calibration.scale,
        bias=calibration.bias,
        input_size=(size.height, size.width),
    )
    return bytes(classifier_graph(stand_in).SerializeToString())
