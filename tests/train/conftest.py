import shutil
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def kermany():
    return DATA / "kermany"


@pytest.fixture
def lungmasks():
    return DATA / "lungmasks"


@pytest.fixture
def kermany_copy(kermany, tmp_path):
    return shutil.copytree(kermany, tmp_path / "kermany")
