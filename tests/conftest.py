"""What several test modules share: sample radiographs, the full data where it is, a tiny bundle."""

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiny import add_tiny_lungs, write_tiny_bundle

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """Hold every test to leaving alone what it shares with others: arrays, folders, dictionaries and lists."""
    made = yield
    if fixturedef.scope == "function":
        return made
    if isinstance(made, np.ndarray):
        made.setflags(write=False)
    elif isinstance(made, dict | list) or (isinstance(made, Path) and made.is_dir() and _ours(made)):
        before = _state(made)

        def check() -> None:
            assert _state(made) == before, f"a test changed what {fixturedef.argname} gives to all of them"

        fixturedef.addfinalizer(check)
    return made


def _ours(folder: Path) -> bool:
    return any(
        folder.resolve().is_relative_to(Path(root).resolve()) for root in (ROOT / "tests", tempfile.gettempdir())
    )


def _state(made: Path | dict[Any, Any] | list[Any]) -> object:
    if not isinstance(made, Path):
        return repr(made)
    facts = {path: path.stat(follow_symlinks=False) for path in made.rglob("*")}
    return {path: (each.st_size, each.st_mtime_ns, each.st_mode) for path, each in facts.items() if not path.is_dir()}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have this program, and every process that a test starts, leave the user's cache folder and settings alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("CXR_EDGE_CONFIG", "")
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
