"""Conversion: an operator without a counterpart in ONNX is named, with the cure."""

import pytest
from small import small_network, write_run

from cxr_export.errors import ConversionError
from cxr_export.graphs import OPSET, classifier_graph, gradcam_graph
from cxr_export.run import Run


def test_names_shapes_and_opset_are_the_contract(run):
    classifier, gradcam = classifier_graph(run), gradcam_graph(run)
    assert [value.name for value in classifier.graph.input] == ["pixels"]
    assert {value.name for value in classifier.graph.output} == {"logodds", "probability", "features"}
    assert {value.name for value in gradcam.graph.input} == {"features", "target"}
    assert {value.name for value in gradcam.graph.output} == {"gradients", "map"}
    assert {opset.version for model in (classifier, gradcam) for opset in model.opset_import if not opset.domain} == {
        OPSET
    }


def test_a_gradient_that_onnx_does_not_have_is_named_with_the_cure(tmp_path):
    run = Run.open(write_run(tmp_path / "run", small_network(activation="elu")))
    classifier_graph(run)
    with pytest.raises(ConversionError, match=r"TensorFlow operator EluGrad.*hidden.*HANDLERS"):
        gradcam_graph(run)
