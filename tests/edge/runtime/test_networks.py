"""A network that does not fit its manifest is a fault of the bundle, found before anything runs."""

import json

import onnx
import pytest

import cxr_edge
from cxr_edge.bundle.bundle import Bundle, write_manifest
from cxr_edge.errors import BundleError
from cxr_edge.runtime.networks import open_classifier, open_gate, open_gradcam, open_lungs
from cxr_edge.runtime.self_test import self_test
from tiny import add_tiny_lungs, write_tiny_bundle


@pytest.fixture
def folder(tmp_path):
    return add_tiny_lungs(write_tiny_bundle(tmp_path / "bundle", gate=True))


def reseal(folder, **changes):
    write_manifest(folder, {**json.loads((folder / "manifest.json").read_bytes()), **changes})


def test_each_network_opens_and_fits(folder):
    bundle = Bundle.open(folder)
    for session in (
        open_classifier(bundle, descriptor=True),
        open_gate(bundle),
        open_gradcam(bundle),
        open_lungs(bundle),
    ):
        assert session.provider == "cpu"


@pytest.mark.parametrize("open_small", [open_gate, open_gradcam])
def test_the_small_networks_run_on_one_thread_of_the_cpu(folder, open_small):
    session = open_small(Bundle.open(folder))
    assert (session.provider, session.threads) == ("cpu", 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"input": {"name": "pixels", "height": 200, "width": 224, "dtype": "float32", "range": [0, 255]}},
        {"features": {"height": 7, "width": 7, "channels": 9}},
        {"features": {"height": 14, "width": 7, "channels": 8}},
    ],
)
def test_a_manifest_of_another_shape_is_refused(folder, changes):
    reseal(folder, **changes)
    with pytest.raises(BundleError, match="the manifest says otherwise") as raised:
        cxr_edge.load(folder, provider="cpu")
    assert raised.value.exit_code == 5
    with pytest.raises(BundleError):
        self_test(Bundle.open(folder))


@pytest.mark.parametrize(
    ("file", "open_it"),
    [
        ("classifier.onnx", lambda bundle: open_classifier(bundle, provider="cpu")),
        ("gate.onnx", open_gate),
        ("gradcam.onnx", open_gradcam),
        ("lungs.onnx", lambda bundle: open_lungs(bundle, provider="cpu")),
    ],
)
@pytest.mark.parametrize("change", ["input", "output", "batch"])
def test_a_network_with_other_names_or_a_fixed_batch_is_refused(folder, file, open_it, change):
    model = onnx.load(folder / file)
    if change == "batch":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    else:
        value = model.graph.input[0] if change == "input" else model.graph.output[0]
        before, value.name = value.name, "other\x1b"
        for node in model.graph.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == before:
                        names[place] = value.name
    onnx.save(model, folder / file)
    reseal(folder)
    with pytest.raises(BundleError) as raised:
        open_it(Bundle.open(folder))
    assert str(raised.value).isprintable()


def test_what_a_bundle_lacks_is_named_with_the_command_that_adds_it(tiny_bundle):
    bundle = Bundle.open(tiny_bundle)
    with pytest.raises(BundleError, match="cxr-export gate"):
        open_gate(bundle)
    with pytest.raises(BundleError, match="cxr-export lungs"):
        open_lungs(bundle)
