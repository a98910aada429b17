"""The prepared classifier: the same answers without the work at every start."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small import SIZE

from cxr_edge.bundle import prepared as runtime
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.prepared import Prepared, block_size
from cxr_edge.errors import BundleError, UsageError
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.runtime.sessions import onnxruntime, open_session
from cxr_export import prepare as module
from cxr_export import simplify as simplification
from cxr_export.blocks import ALIGNMENT, unfolded
from cxr_export.errors import ParityError
from cxr_export.folders import changing
from cxr_export.graphs import classifier_graph
from cxr_export.prepare import GRAPH_FILE, _place, prepare, prepare_bundle, probe
from cxr_export.radiographs import noise

pytestmark = pytest.mark.skipif(not block_size(onnxruntime), reason="ONNX Runtime has no blocks on this processor")


@pytest.fixture
def own(bundle_folder, tmp_path) -> Bundle:
    return Bundle.open(shutil.copytree(bundle_folder, tmp_path / "bundle"))


def test_a_prepared_bundle_opens_the_optimised_graph_and_answers_the_same(own, monkeypatch):
    report = prepare_bundle(own)
    after = Bundle.open(own.folder)
    assert report.block == block_size(onnxruntime)
    assert report.onnxruntime == onnxruntime.__version__
    assert {GRAPH_FILE} == after.manifest.files.keys() - own.manifest.files.keys()
    opened = []
    load = Prepared.load_into
    monkeypatch.setattr(Prepared, "load_into", lambda *arguments: opened.append(1) or load(*arguments))
    pixels = noise(5, size=(SIZE, SIZE))
    before, now = (Classifier(each, provider="cpu").logodds(pixels) for each in (own, after))
    assert opened == [1]
    np.testing.assert_array_equal(before, now)


def test_the_graph_is_ready_and_shares_the_weights_of_the_general_one(own):
    general = len(own.model("classifier.onnx"))
    shared = prepare_bundle(own).shared_bytes
    after = Bundle.open(own.folder)
    prepared = onnx.load_from_string(after.model(GRAPH_FILE))
    assert sum(node.op_type == "Conv" and node.domain.endswith("nchwc") for node in prepared.graph.node) == 3
    assert {each.domain for each in prepared.opset_import} == {node.domain for node in prepared.graph.node}
    places = [_place(tensor) for tensor in prepared.graph.initializer if tensor.external_data]
    assert sum(length for _, length in places) == shared > 900
    assert all(offset % ALIGNMENT == 0 for offset, _ in places)
    assert len(after.model("classifier.onnx")) < general + 8000


def test_the_general_graph_alone_answers_the_same(own):
    prepare_bundle(own)
    after = Bundle.open(own.folder).model("classifier.onnx")
    onnx.checker.check_model(onnx.load_from_string(after), full_check=True)
    pixels = {"pixels": noise(5, size=(SIZE, SIZE))}
    sessions = [open_session(each, provider="cpu") for each in (own.model("classifier.onnx"), after)]
    for expected, found in zip(*(each.run(pixels, ["logodds", "features"]) for each in sessions), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_looks_at_kernels_finds_them(own):
    prepare_bundle(own)
    kernels = []
    for data in (own.model("classifier.onnx"), Bundle.open(own.folder).model("classifier.onnx")):
        graph = unfolded(data).graph
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        kernels.append([tensors[node.input[1]] for node in graph.node if node.op_type == "Conv"])
    for expected, found in zip(*kernels, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_weights_are_hashed_like_every_other_file(own):
    prepare_bundle(own)
    file = own.folder / "classifier.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleError, match="classifier"):
        Bundle.open(own.folder)


def test_a_changed_classifier_voids_it(own):
    prepare_bundle(own)
    with changing(Bundle.open(own.folder)) as (folder, _):
        model = onnx.load(folder / "classifier.onnx")
        model.doc_string = "changed"
        onnx.save(model, folder / "classifier.onnx")
    assert Bundle.open(own.folder).prepared("fp32") is None


def test_prepared_twice_is_prepared_once(own):
    prepare_bundle(own)
    once = Bundle.open(own.folder)
    prepare_bundle(once)
    twice = Bundle.open(own.folder)
    assert twice.manifest.files["classifier.onnx"] == once.manifest.files["classifier.onnx"]
    assert twice.manifest.files.keys() == once.manifest.files.keys()
    assert twice.prepared("fp32") is not None


def test_without_blocks_it_is_taken_out_again(own):
    prepare_bundle(own)
    report = prepare_bundle(Bundle.open(own.folder), blocks=False)
    after = Bundle.open(own.folder)
    assert report.block == 0
    assert after.manifest.files.keys() == own.manifest.files.keys()
    assert after.prepared("fp32") is None
    operators = [
        [node.op_type for node in onnx.load_from_string(each.model("classifier.onnx")).graph.node]
        for each in (own, after)
    ]
    assert operators[0] == operators[1]


def test_an_older_classifier_gets_its_offset_first(run, own, monkeypatch):
    monkeypatch.setattr(simplification, "add_first", lambda _graph: False)
    older = simplification.simplify(classifier_graph(run)).SerializeToString()
    monkeypatch.undo()
    with changing(own) as (folder, _):
        (folder / "classifier.onnx").write_bytes(older)
    prepare_bundle(Bundle.open(own.folder), blocks=False)
    after = onnx.load_from_string(Bundle.open(own.folder).model("classifier.onnx"))
    assert after.graph.node[0].op_type == "Add"


def test_one_that_answers_otherwise_is_not_written(own, monkeypatch):
    def wrongly(model: onnx.ModelProto, folder: Path, file: str) -> Prepared:
        made = prepare(model, folder, file)
        graph = onnx.load_from_string(made.graph)
        node = next(node for node in graph.graph.node if node.op_type == "Conv")
        for tensor in graph.graph.initializer:
            if tensor.name == node.input[1]:
                tensor.external_data[1].value = str(_place(tensor)[0] + 4)  # one number too far
        return replace(made, graph=graph.SerializeToString())

    monkeypatch.setattr(module, "prepare", wrongly)
    with pytest.raises(ParityError, match="another"):
        prepare_bundle(own)
    assert Bundle.open(own.folder).digest == own.digest


def test_a_processor_without_blocks_has_nothing_to_prepare(own, monkeypatch):
    monkeypatch.setattr(module, "block_size", lambda _runtime: 0)
    with pytest.raises(UsageError, match="nothing to prepare"):
        prepare_bundle(own)


def test_the_runtime_carries_the_probe_that_is_made_here():
    assert probe() == runtime._PROBE
