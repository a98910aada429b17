import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def kermany():
    return DATA / "kermany"


@pytest.fixture
def lungmasks():
    return DATA / "lungmasks"


@pytest.fixture
def kermany_copy(kermany, tmp_path):
    return shutil.copytree(kermany, tmp_path / "kermany")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished run of two epochs with seed 4; not to be changed."""
    from cxr_train.cli import app

    run = tmp_path_factory.mktemp("trained") / "run"
    options = ["--arch", "small-cnn", "--masks", str(DATA / "lungmasks"), "--epochs", "2", "--seed", "4"]
    arguments = ["fit", "--data", str(DATA / "kermany"), "--out", str(run), *options]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    return run
