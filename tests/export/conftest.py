"""A small run and the bundle exported from it, shared by the tests of the export."""

from pathlib import Path

import pytest
from small import DATA, small_network, write_run

from cxr_edge.bundle.bundle import Bundle
from cxr_export.bundling import write_bundle
from cxr_export.dataset import KERMANY
from cxr_export.run import Run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the small network; not to be changed."""
    return write_run(tmp_path_factory.mktemp("runs") / "small", small_network())


@pytest.fixture(scope="session")
def run(run_folder: Path) -> Run:
    """That run, loaded."""
    return Run.open(run_folder)


@pytest.fixture(scope="session")
def bundle_folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle exported from it; not to be changed."""
    out = tmp_path_factory.mktemp("bundles") / "small"
    write_bundle(run, out, data=DATA, split="test", dataset=KERMANY, version="0.1")
    return out


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    """That bundle, opened."""
    return Bundle.open(bundle_folder)
