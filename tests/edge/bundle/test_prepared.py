"""A prepared classifier starts a session of its own where it fits, and nowhere else."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.bundle.prepared import Prepared, block_size
from cxr_edge.runtime.sessions import onnxruntime, open_session

WITHOUT_BLOCKS = not block_size(onnxruntime)


@pytest.fixture
def prepared() -> Prepared:
    return Prepared(b"no graph", Path(), block_size(onnxruntime), onnxruntime.__version__)


def test_the_block_size_is_that_of_a_register():
    assert block_size(onnxruntime) in {0, 4, 8, 16}


def test_no_block_size_where_the_operator_is_not_known():
    def refuse(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("no such operator")

    assert block_size(SimpleNamespace(SessionOptions=onnxruntime.SessionOptions, InferenceSession=refuse)) == 0


@pytest.mark.skipif(WITHOUT_BLOCKS, reason="ONNX Runtime has no blocks on this processor")
@pytest.mark.parametrize(("change", "fits"), [({}, True), ({"block": 3}, False), ({"version": "1.0.0"}, False)])
def test_it_fits_only_the_version_and_the_processor_that_it_was_made_for(prepared, change, fits):
    assert Prepared(**{**vars(prepared), **change}).fits(onnxruntime) is fits


@pytest.mark.parametrize("version", ["1.0.0", None])
def test_one_that_does_not_fit_or_does_not_load_is_left_alone(tiny_bundle, prepared, version):
    general = Bundle.open(tiny_bundle).model("classifier.onnx")
    broken = replace(prepared, version=version or prepared.version)
    session = open_session(general, provider="cpu", prepared=broken)
    pixels = np.zeros((1, 224, 224), np.float32)
    assert np.isfinite(session.run({"pixels": pixels}, ["logodds"])[0]).all()
