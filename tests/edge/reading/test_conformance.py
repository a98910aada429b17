"""Our grey against that of another reader, dcmtk, over pydicom's own files and ours.

`-s` prints the share of files that agree.
"""

import subprocess
import sys
import warnings
from pathlib import Path
from shutil import which

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000TransferSyntaxes

from cxr_edge.errors import InputError
from cxr_edge.reading.data_set import read_data_set
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.display_parameters import read_orientation, upright
from dicoms import VALUES, dataset, lut, written

TOOLS = ("dcmj2pnm", "dcml2pnm")  # the second reads JPEG-LS as well
BOUND = 0.012
SHARE = 0.99
ROOT = Path(__file__).parents[3]
# Where both differ, or only dcmtk reads a file, and why.
REASONS = {
    "rtdose_expb_1frame.dcm": "dcmtk swaps big-endian words of 32 bits by pairs of bytes",
    "JPEG-lossy.dcm": "refused: its scan header is wrong, and libjpeg, which decodes here, does not read on",
    "badVR.dcm": "refused: its number of frames is no number",
}

pytestmark = pytest.mark.skipif(
    not all(which(tool) for tool in TOOLS), reason=f"{' and '.join(TOOLS)} of dcmtk are not installed"
)


def ours():
    """Files of each kind that the display pipeline knows."""
    signed, small = VALUES.astype(np.int16) - 2048, (VALUES // 16).astype(np.uint8)
    ramp, color = np.arange(4096), np.stack([small, small // 2, small // 3], 2)
    bent = (ramp / 4095) ** 2 * 1023
    window = {"WindowCenter": 1500, "WindowWidth": 2500}
    images = {
        "full range": dataset(),
        "8 bits": dataset(small, bits=8),
        "window": dataset(**window),
        "sigmoid": dataset(**window, VOILUTFunction="SIGMOID"),
        "second window": dataset(WindowCenter=[1500, 1], WindowWidth=[2500, 2]),
        "narrow window": dataset(WindowCenter=1800, WindowWidth=1),
        "MONOCHROME1": dataset(photometric="MONOCHROME1", **window),
        "MONOCHROME1, full range": dataset(photometric="MONOCHROME1"),
        "signed": dataset(signed, WindowCenter=0, WindowWidth=3000),
        "signed, full range": dataset(signed),
        "rescale": dataset(RescaleSlope=2, RescaleIntercept=-500, WindowCenter=2000, WindowWidth=5000),
        "negative slope": dataset(RescaleSlope=-1, RescaleIntercept=4095, **window),
        "negative slope, full range": dataset(RescaleSlope=-1, RescaleIntercept=4095),
        "slope 0": dataset(RescaleSlope=0, RescaleIntercept=0, **window),
        "HighBit 15": dataset(VALUES << 4, HighBit=15, **window),
        "HighBit 13": dataset(VALUES << 2, HighBit=13, **window),
        "HighBit 15, signed": dataset(signed << 4, HighBit=15, WindowCenter=0, WindowWidth=3000),
        "bits above": dataset(VALUES | 0xF000, **window),
        "VOI LUT": dataset(VOILUTSequence=lut(bent, 0, 10)),
        "VOI LUT, part": dataset(VOILUTSequence=lut(bent[1000:3000], 1000, 10)),
        "VOI LUT says 16": dataset(VOILUTSequence=lut(ramp, 0, 16)),
        "VOI LUT, negative": dataset(signed, VOILUTSequence=lut(bent, -2048, 10)),
        "VOI LUT, MONOCHROME1": dataset(photometric="MONOCHROME1", VOILUTSequence=lut(bent, 0, 10)),
        "modality LUT": dataset(ModalityLUTSequence=lut(bent, 0, 10), WindowCenter=512, WindowWidth=1024),
        "both LUTs": dataset(ModalityLUTSequence=lut(bent, 0, 10), VOILUTSequence=lut(np.arange(1024)[::-1], 0, 10)),
        "padding": dataset(signed, PixelPaddingValue=-2048, WindowCenter=0, WindowWidth=3000),
        "mirrored": dataset(PatientOrientation=["R", "F"], **window),
        "turned": dataset(PatientOrientation=["F", "R"], **window),
        "upside down": dataset(PatientOrientation=["L", "H"], **window),
        "color": dataset(color, bits=8, photometric="RGB"),
        "color by plane": dataset(
            color, bits=8, photometric="RGB", PlanarConfiguration=1, PixelData=color.transpose(2, 0, 1).tobytes()
        ),
        "YBR_FULL": dataset(color, bits=8, photometric="YBR_FULL"),
        "32 bits": dataset(VALUES.astype(np.uint32) * 1000, bits=32),
    }
    for name, image in images.items():
        yield name, written(image)
    for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        yield syntax.name, written(dataset(**window), syntax)
    for folder in ("dicom", "radiographs"):
        for path in sorted((ROOT / "tests" / "data" / folder).glob("*.dcm")):
            yield path.name, path.read_bytes()


def theirs():
    """The image files among those that come with pydicom; nothing is downloaded."""
    for path in sorted({Path(path) for path in get_testdata_files() if Path(path).is_file()}):
        yield path.name, path.read_bytes()


def options_for(radiograph):
    """Ask dcmtk for what our steps say that was done."""
    steps = radiograph.source.steps
    if "VOI LUT" in steps:
        return ["+Wl", "1", "+Mv"]
    if any(step.startswith("window ") for step in steps):
        return ["+Wi", "1"]
    # Without a window, dcmtk shows one bit a pixel half as bright.
    return ["+Wm"] if any(step.startswith("full range ") for step in steps) or radiograph.source.bits == 1 else []


def shown_by_dcmtk(data, options, folder):
    """Grey of 0..1; None where dcmtk reads none."""
    source, target = folder / "in.dcm", folder / "out.png"
    dataset = read_data_set(data)
    source.write_bytes(data)
    if dataset.syntax in JPEG2000TransferSyntaxes:  # which dcmtk does not read; its display pipeline does
        image = pydicom.dcmread(source)
        image.decompress()
        image.save_as(source)
    for tool in TOOLS:
        target.unlink(missing_ok=True)
        subprocess.run([tool, "-q", "+on2", "-O", "+G", *options, source, target], check=False, capture_output=True)
        if target.is_file():
            grey = cv2.imread(str(target), cv2.IMREAD_UNCHANGED) / 65535
            return upright(grey, read_orientation(dataset).directions)
    return None


@pytest.fixture(scope="module")
def differences(tmp_path_factory):
    """By name of all files that dcmtk reads and that hold one image: mean absolute difference, infinite if refused."""
    folder = tmp_path_factory.mktemp("dcmtk")
    found = {}
    for name, data in (*theirs(), *ours()):
        radiograph, options = None, ["+Wm"]
        try:
            radiograph = read_radiograph(data)
            options = options_for(radiograph)
        except InputError as error:
            if error.kind in {"multi-frame", "no-pixels", "not-an-image"}:
                continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, about its own files
            try:
                grey = shown_by_dcmtk(data, options, folder)
            except RuntimeError:  # JPEG 2000 that pydicom cannot decompress either
                continue
        if grey is not None:
            alike = radiograph is not None and grey.shape == radiograph.pixels.shape
            found[name] = float(np.abs(grey - radiograph.pixels).mean()) if alike else np.inf
    return found


def test_our_grey_is_that_of_an_independent_reader(differences):
    beyond = {name: round(value, 4) for name, value in differences.items() if value > BOUND}
    decoded = [value for value in differences.values() if np.isfinite(value)]
    agreeing = sum(value <= BOUND for value in decoded) / len(decoded)
    sys.stdout.write(f"\n{agreeing:.1%} of {len(decoded)} files within {BOUND} of dcmtk; beyond: {beyond}\n")
    assert beyond.keys() == REASONS.keys()
    assert len(decoded) >= 110
    assert agreeing >= SHARE
