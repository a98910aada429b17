"""A complete bundle with a network of a few hundred weights, written as ONNX by hand, in NumPy beside it."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cxr_edge.bundle.bundle import Bundle, write_manifest

Floats = NDArray[np.float32]
SIZE, SIDE, CHANNELS, HIDDEN, PATCH = 224, 7, 8, 4, 32
SCALE, BIAS = 0.8, -0.1
GATE_THRESHOLD = 100.0
SCOPE_THRESHOLD = 150.0


class TinyNetwork:
    """Pixels / 127.5 - 1 → 32x32 convolution (ReLU) → average pooling → dense (ReLU) → dense."""

    def __init__(self, seed: int = 35) -> None:
        rng = np.random.default_rng(seed)
        self.kernel = rng.normal(0, 3.0 / PATCH, (CHANNELS, 1, PATCH, PATCH)).astype(np.float32)
        self.kernel[:, :, 8:24, 8:24] += 0.01  # so that the answer follows the brightness, too
        self.hidden = rng.normal(0, 1, (CHANNELS, HIDDEN)).astype(np.float32)
        self.hidden_bias = np.full(HIDDEN, 0.5, np.float32)
        self.logits = rng.normal(0, 1, (HIDDEN, 2)).astype(np.float32)
        self.logits_bias = np.array([0.2, -0.2], np.float32)

    def features(self, inputs: Floats) -> Floats:
        """Give the feature map [N, 7, 7, 8] of inputs [N, 224, 224]."""
        patches = (inputs / 127.5 - 1).reshape(-1, SIDE, PATCH, SIDE, PATCH)
        return np.maximum(np.einsum("nipjq,kpq->nijk", patches, self.kernel[:, 0]), 0).astype(np.float32)

    def z(self, features: Floats) -> Floats:
        """Give the two logits [N, 2]."""
        hidden = np.maximum(features.mean((1, 2)) @ self.hidden + self.hidden_bias, 0)
        return np.asarray(hidden @ self.logits + self.logits_bias, np.float32)

    def gradcam(self, features: Floats, target: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Give d z_target / d features [N, 7, 7, 8] and the class activation map [N, 7, 7]."""
        active = features.mean((1, 2)) @ self.hidden + self.hidden_bias > 0
        pooled = (active * self.logits[:, target].T) @ self.hidden.T
        gradients = np.broadcast_to((pooled / SIDE**2)[:, None, None], features.shape).astype(np.float32)
        weights = gradients.mean((1, 2))
        return gradients, np.maximum(np.einsum("nijk,nk->nij", features, weights), 0).astype(np.float32)

    def golden(self, inputs: Floats) -> dict[str, NDArray[Any]]:
        """Give what every output must be for some inputs."""
        features = self.features(inputs)
        z = self.z(features)
        logodds = z[:, 1] - z[:, 0]
        target = np.ones(len(inputs), np.int64)
        gradients, cam = self.gradcam(features, target)
        probability = (1 / (1 + np.exp(-(SCALE * logodds + BIAS)))).astype(np.float32)
        return {
            "inputs": inputs,
            "logodds": logodds,
            "probability": probability,
            "features": features,
            "target": target,
            "gradients": gradients,
            "map": cam,
        }

    def classifier(self) -> onnx.ModelProto:
        """Write pixels → logodds, probability, features, and the mean grey level as descriptor."""
        constants = {
            "half": np.float32(127.5),
            "one": np.float32(1),
            "channel": np.array([1], np.int64),
            "xy": np.array([1, 2], np.int64),
            "kernel": self.kernel,
            "w1": self.hidden,
            "b1": self.hidden_bias,
            "w2": (self.logits[:, 1:] - self.logits[:, :1]),
            "b2": self.logits_bias[1:] - self.logits_bias[:1],
            "scale": np.float32(SCALE),
            "bias": np.float32(BIAS),
        }
        nodes = [
            helper.make_node("Div", ["pixels", "half"], ["divided"]),
            helper.make_node("Sub", ["divided", "one"], ["normal"]),
            helper.make_node("Unsqueeze", ["normal", "channel"], ["planes"]),
            helper.make_node("Conv", ["planes", "kernel"], ["convolved"], strides=[PATCH, PATCH]),
            helper.make_node("Relu", ["convolved"], ["active"]),
            helper.make_node("Transpose", ["active"], ["features"], perm=[0, 2, 3, 1]),
            helper.make_node("ReduceMean", ["features", "xy"], ["pooled"], keepdims=0),
            helper.make_node("Gemm", ["pooled", "w1", "b1"], ["h"]),
            helper.make_node("Relu", ["h"], ["hidden"]),
            helper.make_node("Gemm", ["hidden", "w2", "b2"], ["difference"]),
            helper.make_node("Squeeze", ["difference", "channel"], ["logodds"]),
            helper.make_node("Mul", ["logodds", "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "bias"], ["calibrated"]),
            helper.make_node("Sigmoid", ["calibrated"], ["probability"]),
            helper.make_node("ReduceMean", ["pixels", "xy"], ["brightness"], keepdims=0),
            helper.make_node("Unsqueeze", ["brightness", "channel"], ["descriptor"]),
        ]
        inputs = [_value("pixels", ["N", SIZE, SIZE])]
        outputs = [
            _value("logodds", ["N"]),
            _value("probability", ["N"]),
            _value("features", ["N", SIDE, SIDE, CHANNELS]),
            _value("descriptor", ["N", 1]),
        ]
        return _model(nodes, inputs, outputs, constants)

    def gate(self, *, scope: bool = False) -> onnx.ModelProto:
        """Write descriptor → score, the distance of the brightness from 128; not a number for a black input.

        With a scope also elsewhere, how much brighter than a level it is.
        """
        level = np.float32(SCOPE_THRESHOLD)
        constants = {"middle": np.float32(128), "channel": np.array([1], np.int64), "level": level}
        nodes = [
            helper.make_node("Div", ["descriptor", "descriptor"], ["one"]),
            helper.make_node("Mul", ["descriptor", "one"], ["same"]),
            helper.make_node("Sub", ["same", "middle"], ["difference"]),
            helper.make_node("Abs", ["difference"], ["distance"]),
            helper.make_node("Squeeze", ["distance", "channel"], ["score"]),
        ]
        outputs = [_value("score", ["N"])]
        if scope:
            nodes.append(helper.make_node("Sub", ["descriptor", "level"], ["above"]))
            nodes.append(helper.make_node("Squeeze", ["above", "channel"], ["elsewhere"]))
            outputs.append(_value("elsewhere", ["N"]))
        return _model(nodes, [_value("descriptor", ["N", 1])], outputs, constants)

    def gradcam_model(self) -> onnx.ModelProto:
        """Write features, target → gradients, map."""
        constants = {
            "xy": np.array([1, 2], np.int64),
            "last": np.array([3], np.int64),
            "w1": self.hidden,
            "b1": self.hidden_bias,
            "w2_rows": np.ascontiguousarray(self.logits.T),
            "zero": np.float32(0),
            "area": np.float32(SIDE**2),
        }
        nodes = [
            helper.make_node("ReduceMean", ["features", "xy"], ["pooled"], keepdims=0),
            helper.make_node("Gemm", ["pooled", "w1", "b1"], ["h"]),
            helper.make_node("Greater", ["h", "zero"], ["on"]),
            helper.make_node("Cast", ["on"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Gather", ["w2_rows", "target"], ["chosen"]),
            helper.make_node("Mul", ["mask", "chosen"], ["at_hidden"]),
            helper.make_node("Gemm", ["at_hidden", "w1"], ["at_pooled"], transB=1),
            helper.make_node("Div", ["at_pooled", "area"], ["each"]),
            helper.make_node("Unsqueeze", ["each", "xy"], ["spread"]),
            helper.make_node("Shape", ["features"], ["shape"]),
            helper.make_node("Expand", ["spread", "shape"], ["gradients"]),
            helper.make_node("Mul", ["features", "spread"], ["products"]),
            helper.make_node("ReduceSum", ["products", "last"], ["summed"], keepdims=0),
            helper.make_node("Relu", ["summed"], ["map"]),
        ]
        inputs = [_value("features", ["N", SIDE, SIDE, CHANNELS]), _value("target", ["N"], TensorProto.INT64)]
        outputs = [_value("gradients", ["N", SIDE, SIDE, CHANNELS]), _value("map", ["N", SIDE, SIDE])]
        return _model(nodes, inputs, outputs, constants)


def write_tiny_bundle(
    folder: Path, *, seed: int = 35, gate: bool = False, scope: bool = False, network: TinyNetwork | None = None
) -> Path:
    """Write a complete bundle whose int8 file is the float32 one again.

    The gate, if asked for, goes by brightness, and so does its scope.
    """
    folder.mkdir(parents=True)
    network = network or TinyNetwork(seed)
    model = network.classifier().SerializeToString()
    (folder / "classifier.onnx").write_bytes(model)
    (folder / "classifier.int8.onnx").write_bytes(model)
    (folder / "gradcam.onnx").write_bytes(network.gradcam_model().SerializeToString())
    (folder / "MODEL_CARD.md").write_text(f"# Tiny\n\nWeights {hashlib.sha256(model).hexdigest()}\n", encoding="utf-8")
    inputs = np.random.default_rng(seed).uniform(0, 255, (4, SIZE, SIZE)).astype(np.float32)
    inputs[:2] = np.array([40, 220], np.float32)[:, None, None]
    golden = network.golden(inputs)
    if gate:
        golden["gate_score"] = np.abs(inputs.mean((1, 2)) - 128)
    if scope:
        golden["scope_score"] = inputs.mean((1, 2)) - np.float32(SCOPE_THRESHOLD)
    np.savez_compressed(folder / "golden.npz", **golden)
    values = manifest_values()
    if gate:
        (folder / "gate.onnx").write_bytes(network.gate(scope=scope).SerializeToString())
        values["gate"] = {
            "file": "gate.onnx",
            "threshold": GATE_THRESHOLD,
            "method": "distance from grey",
            "chosen_on": "nothing",
            "scope": {"threshold": 0.0, "method": "brightness", "chosen_on": "nothing"} if scope else None,
        }
    write_manifest(folder, values)
    return folder


def lung_model() -> onnx.ModelProto:
    """Write pixels → lungs: at half the resolution, how far the grey level is above 128."""
    constants = {"channel": np.array([1], np.int64), "middle": np.float32(128)}
    nodes = [
        helper.make_node("Unsqueeze", ["pixels", "channel"], ["planes"]),
        helper.make_node("AveragePool", ["planes"], ["halved"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Squeeze", ["halved", "channel"], ["grey"]),
        helper.make_node("Sub", ["grey", "middle"], ["lungs"]),
    ]
    inputs, outputs = [_value("pixels", ["N", SIZE, SIZE])], [_value("lungs", ["N", SIZE // 2, SIZE // 2])]
    return _model(nodes, inputs, outputs, constants)


def add_tiny_lungs(folder: Path) -> Path:
    """Give a bundle a segmenter that takes what is bright for lungs."""
    values = Bundle.open(folder).manifest.to_json()
    with np.load(folder / "golden.npz") as stored:
        golden = dict(stored)
    halves = golden["inputs"].reshape(-1, SIZE // 2, 2, SIZE // 2, 2).mean((2, 4))
    np.savez_compressed(folder / "golden.npz", **golden, lungs=halves - 128)
    (folder / "lungs.onnx").write_bytes(lung_model().SerializeToString())
    write_manifest(folder, {**values, "lungs": {"file": "lungs.onnx", "dice": 1.0, "measured_on": "nothing"}})
    return folder


def lung_picture(*, size: int = SIZE) -> NDArray[np.uint8]:
    """Draw two bright rectangles, 2 · 3/4 · 1/4 = 3/8 of the picture, with something dim between them."""
    picture = np.full((size, size), 30, np.uint8)
    unit = size // 16
    picture[2 * unit : 14 * unit, 3 * unit : 7 * unit] = 200
    picture[2 * unit : 14 * unit, 9 * unit : 13 * unit] = 200
    picture[4 * unit : 12 * unit, 7 * unit : 9 * unit] = 90
    return picture


def manifest_values() -> dict[str, Any]:
    """Give the manifest of the tiny bundle, without its files."""
    point = {"criterion": "by hand", "chosen_on": "nothing", "recall": 0.99, "specificity": 0.5}
    return {
        "schema": 2,
        "name": "tiny",
        "version": "0.0.1",
        "labels": ["NORMAL", "PNEUMONIA"],
        "positive": "PNEUMONIA",
        "input": {"name": "pixels", "height": SIZE, "width": SIZE, "dtype": "float32", "range": [0, 255]},
        "preprocessing": {"resize": "bilinear", "antialias": False, "aspect": "squash", "channels": "grey"},
        "features": {"height": SIDE, "width": SIDE, "channels": CHANNELS},
        "calibration": {"method": "platt", "scale": SCALE, "bias": BIAS, "chosen_on": "nothing"},
        "operating_points": {
            "default": "balanced",
            "points": {"balanced": {"threshold": 0.5, **point}, "strict": {"threshold": 0.999, **point}},
        },
        "precisions": {
            "fp32": {"file": "classifier.onnx"},
            "int8": {"file": "classifier.int8.onnx", "loss": {"auroc": 0.0, "max_logodds_error": 0.001}},
        },
        "training": {},
        "tools": {"onnx": onnx.__version__},
        "licence": "MIT",
        "data": {"name": "none", "licence": "none", "citation": "none"},
    }


def _value(name: str, shape: list[str | int], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, Any],
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model
