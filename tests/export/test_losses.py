"""The loss of every precision: measured against fp32, stated in the manifest, enough for the runtime to keep labels."""

import numpy as np
import pytest
from small import DATA

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.runtime.tuning import stated_bounds
from cxr_export.int8 import quantize_bundle
from cxr_export.losses import measure_losses
from cxr_train.dataset import find_samples, read_images


def test_the_stated_bounds_are_the_largest_differences(own):
    quantize_bundle(own, data=DATA)
    before = Bundle.open(own.folder)
    measure_losses(before, data=DATA)
    after = Bundle.open(own.folder)
    size = {"height": after.manifest.input.height, "width": after.manifest.input.width}
    pixels = read_images(find_samples(DATA, ["test"]), **size).pixels.astype(np.float32)
    fp32, int8 = (Classifier(after, provider="cpu", precision=name).logodds(pixels) for name in ("fp32", "int8"))
    loss = after.manifest.precisions["int8"].loss
    assert stated_bounds(after.manifest, "int8").logodds == pytest.approx(np.abs(fp32 - int8).max(), rel=1e-3)
    assert stated_bounds(after.manifest, "int8").cover(after.manifest)
    assert loss["calibrated_on"] == before.manifest.precisions["int8"].loss["calibrated_on"]
    assert loss["images"] == len(pixels)
    assert 0 < loss["lime_correlation"] <= 1
    assert after.manifest.files["classifier.int8.onnx"] == before.manifest.files["classifier.int8.onnx"]
