"""From a file in the disk cache to grey pixels, and from those to the network's input.

pytest benchmarks/test_decoding.py --benchmark-only
"""

import pytest

from conftest import DATA
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph

FILES = {
    "jpeg-1218x808": "radiographs/NORMAL2-IM-0588-0001.jpeg",
    "jpeg-224x224": "kermany/test/NORMAL/IM-0073-0001.jpeg",
    "png-8bit-765x594": "radiographs/person586_bacteria_2417.png",
    "png-16bit-489x460": "radiographs/cr_chest_pa_16bit.png",
    "dicom-1024x1024": "radiographs/nih_dx_chest.dcm",
    "dicom-jpeg2000-1955x1841": "dicom/cr_chest_pa_jpeg2000.dcm",
}


@pytest.mark.benchmark(group="decode")
@pytest.mark.parametrize("name", FILES)
def test_decode(benchmark, name) -> None:
    if "jpeg2000" in name:
        pytest.importorskip("openjpeg", reason="needs the dicom extra")
    benchmark(read_radiograph, DATA / FILES[name])


@pytest.mark.benchmark(group="to input")
@pytest.mark.parametrize("name", ["jpeg-1218x808", "jpeg-224x224", "png-16bit-489x460", "dicom-1024x1024"])
def test_to_input(benchmark, name) -> None:
    benchmark(to_input, read_radiograph(DATA / FILES[name]))
