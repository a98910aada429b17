"""What several test modules share: sample radiographs, the full data where it is, a tiny bundle."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiny import add_tiny_lungs, write_tiny_bundle

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have this program, and every process that a test starts, leave the user's cache folder alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def radiographs() -> Path:
    """The folder of committed sample radiographs."""
    return ROOT / "tests" / "data" / "radiographs"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the full data set; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("CXR_EDGE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "kermany224").is_dir():
        pytest.skip(f"no radiograph set in {folder}; set CXR_EDGE_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle with a tiny network."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def gated_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a gate that refuses what is nearly black or nearly white."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "gated", gate=True)


@pytest.fixture(scope="session")
def lung_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a segmenter that takes what is bright for lungs."""
    return add_tiny_lungs(write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "lungs"))
