"""Both architectures as cxr-train builds them, at full size."""

import keras
import numpy as np
import pytest
from small import DATA, write_run

from cxr_export.bundling import write_bundle
from cxr_export.dataset import KERMANY
from cxr_export.parity import verify
from cxr_export.run import Run
from cxr_train.network import build_network


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "features"), [("mobilenet", (7, 7, 1024)), ("small-cnn", (14, 14, 256))])
def test_export_and_parity(tmp_path, arch, features):
    keras.utils.set_random_seed(1)  # not every random head is alive
    network = build_network(arch)
    # Without training, batch norm has neutral statistics: give it some, so that folding them is tried.
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if hasattr(layer, "moving_variance"):
            layer.moving_mean.assign(rng.normal(0, 0.05, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.02, 0.1, layer.moving_variance.shape))
    run = Run.open(write_run(tmp_path / "run", network, arch=arch))
    assert run.features == features
    bundle, _ = write_bundle(run, tmp_path / "bundle", data=DATA, split="test", dataset=KERMANY, version="0")
    assert bundle.manifest.name == f"pneumonia-{arch}"
    assert verify(bundle, run, data=DATA, split="train").faults == []
