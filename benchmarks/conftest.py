"""What the benchmarks under pytest share: the shipped bundle on the CPU and the committed sample radiographs."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_edge.api import Model, load
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph

DATA = Path(__file__).parents[1] / "tests" / "data"


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The bundle that is installed."""
    return Bundle.open()


@pytest.fixture(scope="session")
def model() -> Model:
    """Its float32 network."""
    return load(provider="cpu", precision="fp32")


@pytest.fixture(scope="session")
def jpeg() -> Path:
    """A radiograph at the size that it was published in, 1218x808."""
    return DATA / "radiographs" / "NORMAL2-IM-0588-0001.jpeg"


@pytest.fixture(scope="session")
def image(jpeg: Path) -> NDArray[np.float32]:
    """The network's input for it: float32 [224, 224]."""
    return to_input(read_radiograph(jpeg))
