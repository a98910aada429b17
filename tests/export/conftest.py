"""A small run and the bundle exported from it, shared by the tests of the export."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small import DATA, SIZE, small_network, write_run

from cxr_edge.bundle.bundle import Bundle
from cxr_export.bundle import write_bundle
from cxr_export.convert import Exportable
from cxr_train.dataset import KERMANY, find_samples, read_images


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the small network; not to be changed."""
    return write_run(tmp_path_factory.mktemp("runs") / "small", small_network())


@pytest.fixture(scope="session")
def network(run_folder: Path) -> Exportable:
    """Its network, cut in two."""
    return Exportable.open(run_folder)


@pytest.fixture(scope="session")
def bundle_folder(network: Exportable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle exported from it; not to be changed."""
    out = tmp_path_factory.mktemp("bundles") / "small"
    write_bundle(network, out, data=DATA, split="test", dataset=KERMANY, version="0.1")
    return out


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    """That bundle, opened."""
    return Bundle.open(bundle_folder)


@pytest.fixture
def own(bundle_folder: Path, tmp_path: Path) -> Bundle:
    """A copy of that bundle, to be changed."""
    return Bundle.open(shutil.copytree(bundle_folder, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def pixels() -> NDArray[np.uint8]:
    """The radiographs of the training folder, as the network takes them."""
    images = read_images(find_samples(DATA, ["train"]), height=SIZE, width=SIZE)
    images.pixels.flags.writeable = False
    return images.pixels
