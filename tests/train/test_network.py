import numpy as np
import pytest
from typer.testing import CliRunner

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError, UsageError
from cxr_edge.prediction.classifier import Classifier
from cxr_train.cli import app
from cxr_train.network import (
    MOBILENET_PARAMETERS,
    MOBILENET_TRAINABLE,
    build_network,
    freeze_through,
    logodds,
    write_network,
)


@pytest.fixture(scope="module")
def network_file(tmp_path_factory):
    out = tmp_path_factory.mktemp("keras") / "shipped.keras"
    result = CliRunner().invoke(
        app, ["network", "--bundle", str(Bundle.open().folder), "--out", str(out)], catch_exceptions=False
    )
    assert result.exit_code == 0
    return out


def test_a_training_goes_on_where_the_bundle_is(network_file, request):
    from cxr_edge.prediction.preprocess import to_input
    from cxr_edge.reading.decode import read_radiograph

    files = sorted((request.path.parents[1] / "data" / "kermany").rglob("*.jpeg"))[::12]
    pixels = np.stack([to_input(read_radiograph(path)) for path in files])
    expected = Classifier(Bundle.open(), gate=False).logodds(pixels)
    found = logodds(build_network("mobilenet", weights=network_file), pixels)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.ptp(expected) > 1


def test_another_network_is_refused(network_file, tmp_path, tiny_bundle):
    with pytest.raises(UsageError, match="does not fit"):
        build_network("small-cnn", weights=network_file)
    with pytest.raises(UsageError, match=r"nowhere\.keras"):
        build_network("mobilenet", weights=tmp_path / "nowhere.keras")
    with pytest.raises(BundleError, match="MobileNet"):
        write_network(Bundle.open(tiny_bundle), tmp_path / "tiny.keras")


def test_a_file_that_is_there_is_left_alone(network_file, tmp_path):
    before = network_file.read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        write_network(Bundle.open(), network_file)
    assert network_file.read_bytes() == before
    with pytest.raises(UsageError, match=r"\.keras"):
        write_network(Bundle.open(), tmp_path / "network.h5")


def test_the_published_parameter_counts():
    network = build_network("mobilenet")
    freeze_through(network)
    assert network.count_params() == MOBILENET_PARAMETERS
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == MOBILENET_TRAINABLE
    freeze_through(network, None)
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) > MOBILENET_TRAINABLE
