"""LayerCAM in a bundle: the backward pass that is written as a graph gives the gradients of `tf.GradientTape`."""

import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import TensorProto, helper
from small import DATA
from typer.testing import CliRunner

import cxr_edge
from cxr_edge import draw
from cxr_edge.bundle.bundle import DEFAULT, Bundle
from cxr_edge.errors import BundleError
from cxr_edge.explanation.gradcam import GradCam
from cxr_edge.explanation.layercam import LayerCam
from cxr_edge.results.schema import check
from cxr_edge.runtime.networks import HIRESCAM, LAYERCAM
from cxr_edge.runtime.reference import read_reference
from cxr_edge.runtime.self_test import compare, compute_outputs, self_test
from cxr_edge.runtime.sessions import open_session
from cxr_export.cli import app
from cxr_export.edits import ConversionError
from cxr_export.layercam import GRADIENT, LAYERCAM_FILE, add_layercam, layercam_graph
from cxr_train.dataset import find_samples, noise, read_images
from cxr_train.network import write_network

TOLERANCE = 1e-4


def answers(classifier, images):
    """What the continued classifier gives: layers, gradients by layer [N, h, w, c], maps, and where ReLUs are open."""
    continued, layers = layercam_graph(classifier)
    graph = onnx.load_from_string(classifier).graph
    relus = [node.output[0] for node in graph.node if node.op_type == "Clip"]
    relus = relus[relus.index(layers[-1].tensor) + 1 :]
    names = [f"{GRADIENT}/{layer.height}" for layer in layers]
    shown = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (*names, *relus)]
    also = onnx.ModelProto(graph=onnx.GraphProto(output=shown)).SerializeToString()
    session = open_session(classifier + continued + also, provider="cpu")
    wanted = [*names, *relus, LAYERCAM, HIRESCAM]
    found = dict(zip(wanted, session.run({"pixels": images}, wanted), strict=True))
    gradients = [
        np.broadcast_to(found[name], (len(images), layer.channels, layer.height, layer.width)).transpose(0, 2, 3, 1)
        for name, layer in zip(names, layers, strict=True)
    ]
    opened = [(found[name] > 0) & (found[name] < 6) for name in relus]
    return layers, gradients, found[LAYERCAM], found[HIRESCAM], [each.transpose(0, 2, 3, 1) for each in opened]


def by_tape(network, outputs, images):
    """The same activations, gradients and open ReLUs, by Keras."""
    relus = [layer for layer in network.layers if isinstance(layer, keras.layers.ReLU)]
    finest = next(place for place, layer in enumerate(relus) if layer.output is outputs[-1])
    model = keras.Model(network.input, [*outputs, network.output])
    with tf.GradientTape() as tape:
        *maps, logits = model(tf.constant(images), training=False)
        score = tf.reduce_sum(logits[:, 1] - logits[:, 0])
    gradients = [gradient.numpy() for gradient in tape.gradient(score, maps)]
    values = keras.Model(network.input, [layer.output for layer in relus[finest + 1 :]])(images, training=False)
    return [each.numpy() for each in maps], gradients, [(each.numpy() > 0) & (each.numpy() < 6) for each in values]


def cams(activations, gradients):
    """LayerCAM for both labels [N, 2, P] and HiResCAM [N, P], from their definition."""
    positive, negative, signed = [], [], []
    for activation, gradient in zip(activations, gradients, strict=True):
        count = len(activation)
        positive.append((np.maximum(gradient, 0) * activation).sum(3).reshape(count, -1))
        negative.append((np.maximum(-gradient, 0) * activation).sum(3).reshape(count, -1))
        signed.append((gradient * activation).sum(3).reshape(count, -1))
    both = np.stack([np.concatenate(negative, 1), np.concatenate(positive, 1)], axis=1)
    return both, np.concatenate(signed, 1)


def furthest(found, expected):
    """Largest difference for one input, of the largest value for that input; of 1 where that is 0."""
    axes = tuple(range(1, expected.ndim))
    largest = np.abs(expected).max(axes)
    return float((np.abs(found - expected).max(axes) / np.where(largest > 0, largest, 1)).max())


def check_against_tape(classifier, network, outputs, images):
    """Hold the graph to the tape on all inputs for which both round every ReLU's input to the same side of 0 and 6.

    There the gradient jumps, and both sides are right: about one input in four has such a value among its million.
    """
    layers, gradients, layercam, hirescam, opened = answers(classifier, images)
    activations, expected, by_keras = by_tape(network, outputs, images)
    assert [(layer.height, layer.width, layer.channels) for layer in layers] == [each.shape[1:] for each in activations]
    assert len(opened) == len(by_keras)
    differ = [(one != other).sum((1, 2, 3)) for one, other in zip(opened, by_keras, strict=True)]
    same = np.sum(differ, axis=0) == 0 if differ else np.ones(len(images), bool)
    assert same.mean() >= 0.5
    assert np.sum(differ) <= len(images)
    for found, wanted in zip(gradients, expected, strict=True):
        assert furthest(found[same], wanted[same]) <= TOLERANCE
    both, signed = cams(activations, expected)
    assert furthest(layercam[same], both[same]) <= TOLERANCE
    assert furthest(hirescam[same], signed[same]) <= TOLERANCE
    assert furthest(layercam[1:], layercam[:-1]) > 0.1  # the maps follow the input


def test_gradients_of_a_small_network_are_those_of_the_tape(bundle, network, pixels):
    trained = network.run.network
    convolutions = [layer for layer in trained.layers if type(layer) is keras.layers.Conv2D]
    behind = [trained.layers[trained.layers.index(layer) + 2].output for layer in convolutions]
    images = np.concatenate([pixels.astype(np.float32), noise(2, size=pixels.shape[1:])])
    check_against_tape(bundle.model("classifier.onnx"), trained, behind[::-1], images)


@pytest.fixture(scope="module")
def shipped_network(tmp_path_factory):
    """The network of the bundle in the package, as Keras has it."""
    path = tmp_path_factory.mktemp("keras") / "shipped.keras"
    write_network(Bundle.open(), path)
    return keras.saving.load_model(path, compile=False)


@pytest.mark.slow
def test_gradients_of_the_shipped_network_are_those_of_the_tape(shipped_network):
    names = ("conv_pw_13_relu", "conv_pw_11_relu", "conv_pw_5_relu")
    outputs = [shipped_network.get_layer(name).output for name in names]
    samples = [sample for split in ("train", "val", "test") for sample in find_samples(DATA, [split])]
    images = np.concatenate([read_images(samples, height=224, width=224).inputs, noise(4, size=(224, 224))])
    classifier = Bundle.open()
    check_against_tape(classifier.model("classifier.onnx"), shipped_network, outputs, images)


@pytest.fixture(scope="module")
def shipped_with_maps(tmp_path_factory):
    """A copy of the bundle in the package, with LayerCAM; not to be changed."""
    folder = shutil.copytree(DEFAULT, tmp_path_factory.mktemp("bundles") / "shipped")
    done = CliRunner().invoke(app, ["layercam", str(folder)])
    assert done.exit_code == 0, done.output
    assert [layer["height"] for layer in json.loads(done.stdout)["layers"]] == [7, 14, 28]
    return folder


def test_the_shipped_bundle_with_layercam_tests_it_and_keeps_its_size(shipped_with_maps):
    bundle = Bundle.open(shipped_with_maps)
    report = self_test(bundle)
    assert (report.faults, report.untested) == ([], ())
    assert {"layercam", "hirescam"} <= set(report.differences)
    assert bundle.manifest.files[LAYERCAM_FILE].bytes < 100_000
    assert "layercam" in bundle.manifest.self_test.computed_by


def test_adding_it_twice_gives_the_same_bundle(own):
    add_layercam(own)
    first = Bundle.open(own.folder)
    add_layercam(first)
    assert Bundle.open(own.folder).digest == first.digest


def test_a_kernel_that_changes_is_found_by_the_self_test(own):
    add_layercam(own)
    bundle = Bundle.open(own.folder)
    part = onnx.load_from_string(bundle.model(LAYERCAM_FILE))
    own_kernels = {tensor.name for tensor in part.graph.initializer}  # of convolutions that only scale
    (first, *_) = [node for node in part.graph.node if node.op_type == "Conv" and node.input[1] not in own_kernels]
    double = helper.make_node("Add", [first.output[0], first.output[0]], ["doubled"])
    for node in part.graph.node:
        node.input[:] = ["doubled" if name == first.output[0] else name for name in node.input]
    part.graph.node.insert(list(part.graph.node).index(first) + 1, double)
    changed = bundle.with_network(LAYERCAM_FILE, part.SerializeToString())
    assert [fault for fault in self_test(changed).faults if fault.startswith("layercam differs")]


def test_a_bundle_without_it_says_how_to_get_it(bundle):
    with pytest.raises(BundleError, match="cxr-export layercam"):
        LayerCam(bundle, provider="cpu")


def test_an_operator_without_a_rule_is_refused(bundle):
    model = onnx.load_from_string(bundle.model("classifier.onnx"))
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Elu"
    with pytest.raises(ConversionError, match="no gradient of Elu"):
        layercam_graph(model.SerializeToString())


def test_the_map_is_fused_of_layers_that_are_each_divided_by_their_peak(own, pixels):
    add_layercam(own)
    maps = LayerCam(Bundle.open(own.folder), provider="cpu")
    for target in ("NORMAL", "PNEUMONIA"):
        found = maps.explain(pixels[0].astype(np.float32), target)
        assert [layer.shape for layer in found.layers] == [(16, 16), (32, 32)]
        assert found.raw.shape == (32, 32)
        fine = found.layers[1] / found.layers[1].max()
        assert (found.raw >= fine - 1e-6).all()
        assert found.peak == pytest.approx(1)
        assert found.to_json()["method"] == "layercam"
    one, other = (maps.hirescam(pixels[0].astype(np.float32), target).raw for target in ("NORMAL", "PNEUMONIA"))
    assert one.shape == (32, 32)
    assert not (one * other).any()  # a cell speaks for one label only
    assert one.any()
    assert other.any()


def test_a_radiograph_is_explained_at_every_layer(shipped_with_maps, radiographs):
    model = cxr_edge.load(shipped_with_maps, provider="cpu")
    path = radiographs / "person724_virus_1343.jpeg"
    found = model.explain(path, method="gradcam", cam="layercam")
    assert found.saliency.raw.shape == (28, 28)
    assert [layer.shape for layer in found.saliency.layers] == [(7, 7), (14, 14), (28, 28)]
    check(found.to_json())  # the record's schema takes it
    assert {name for name, _ in draw(found)} == {"figure.png", "gradcam.png"}
    assert model.explain(path, method="gradcam", cam="hirescam").saliency.raw.shape == (14, 14)


def test_what_is_asked_of_a_bundle_without_it_is_refused_before_a_file_is_read(tiny_bundle):
    model = cxr_edge.load(tiny_bundle, provider="cpu")
    with pytest.raises(BundleError, match="no LayerCAM"):
        model.explain("nowhere.png", cam="layercam")


def test_a_network_of_one_convolution_is_mapped_as_its_gradient_says(tiny_bundle, tmp_path):
    own = Bundle.open(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
    continued, layers = layercam_graph(own.model("classifier.onnx"))
    assert [(layer.height, layer.channels) for layer in layers] == [(7, 8)]
    images = noise(3, size=(224, 224))
    session = open_session(own.model("classifier.onnx") + continued, provider="cpu")
    features, signed = session.run({"pixels": images}, ["features", HIRESCAM])
    gradcam = GradCam(own)
    for each, found in zip(features, signed, strict=True):
        expected = (gradcam.logodds_gradients(each) * each).sum(axis=2)
        np.testing.assert_allclose(found.reshape(7, 7), expected, rtol=1e-4, atol=1e-6)


def test_one_input_whose_relus_round_to_the_other_side_is_no_fault(own):
    add_layercam(own)
    bundle = Bundle.open(own.folder)
    reference, expected = read_reference(bundle)
    found, provider = compute_outputs(bundle, reference)
    for inputs, fault in ((1, False), (len(reference.inputs), True)):
        maps = found.layercam.copy()
        maps[:inputs] *= 1.01
        faults = compare(reference, expected, replace(found, layercam=maps), provider=provider).faults
        assert any(each.startswith("layercam differs") for each in faults) == fault
