import logging
import subprocess
import sys
import warnings
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.display_pipeline import windowed
from dicoms import NAME, VALUES, dataset, written


def lut(entries, first, bits):
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "US", [int(entry) for entry in entries])
    return [item]


def read(*arguments, **elements):
    return read_radiograph(written(dataset(*arguments, **elements)))


def kind_of(data):
    with pytest.raises(InputError) as caught:
        read_radiograph(data)
    assert "Mustermann" not in str(caught.value)
    return caught.value.kind


def test_no_window_shows_the_full_range():
    radiograph = read()
    np.testing.assert_allclose(radiograph.pixels, VALUES / VALUES.max(), atol=1e-6)
    assert (radiograph.pixels.dtype, radiograph.maximum) == (np.float32, 1.0)
    assert (radiograph.source.steps, radiograph.warnings) == (("full range 0..3620",), ())


def test_8_bits_without_a_window_are_shown_as_stored():
    values = (VALUES // 20).astype(np.uint8)
    radiograph = read(values, bits=8)
    np.testing.assert_allclose(radiograph.pixels, values / 255, atol=1e-6)
    assert radiograph.source.steps == ()


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1000.5, 300), (1800, 1)])
def test_windows_are_those_of_pydicom(function, center, width):
    image = dataset(WindowCenter=center, WindowWidth=width, VOILUTFunction=function)
    radiograph = read_radiograph(written(image))
    if (function, width) == ("LINEAR", 1):
        expected = (center - 0.5 < VALUES).astype(float)
    else:
        with np.errstate(over="ignore"):
            expected = apply_windowing(VALUES, image) / 4095
    np.testing.assert_allclose(radiograph.pixels, expected, atol=2e-4)
    assert radiograph.source.steps == (f"window {center:g}/{width:g} ({function})",)


def test_the_standard_s_own_example_of_a_linear_window():
    # PS3.3 C.11.2.1.2.1: center 2048, width 4096 maps 0 to the least and 4095 to the greatest value.
    np.testing.assert_allclose(
        windowed(np.array([0, 4095]), center=2048, width=4096, function="LINEAR"), [0, 1], atol=1e-6
    )


def test_modality_rescale_comes_before_the_window_and_inversion_last():
    image = dataset(
        VALUES.astype(np.int16) - 1000,
        bits=16,
        photometric="MONOCHROME1",
        RescaleSlope=2,
        RescaleIntercept=-500,
        WindowCenter=[1200, 1],
        WindowWidth=[2400, 1],
    )
    radiograph = read_radiograph(written(image))
    modality = (VALUES.astype(float) - 1000) * 2 - 500
    np.testing.assert_allclose(radiograph.pixels, 1 - np.clip((modality - 1199.5) / 2399 + 0.5, 0, 1), atol=1e-5)
    assert radiograph.source.steps == (
        "rescale slope 2, intercept -500",
        "window 1200/2400 (LINEAR)",
        "MONOCHROME1 inverted",
    )


@pytest.mark.parametrize("kind", ["US", "OW"])
def test_modality_lut_then_voi_lut_are_those_of_pydicom(kind):
    modality = np.linspace(0, 65535, 4000) ** 0.5 * 16
    voi = np.linspace(1023, 0, 3000)
    image = dataset(ModalityLUTSequence=lut(modality, 10, 16), VOILUTSequence=lut(voi, 500, 10))
    if kind == "OW":
        for item in (image.ModalityLUTSequence[0], image.VOILUTSequence[0]):
            item.add_new("LUTData", "OW", np.array(item.LUTData, "<u2").tobytes())
    radiograph = read_radiograph(written(image))
    expected = apply_voi_lut(apply_modality_lut(VALUES, image), image)
    np.testing.assert_allclose(radiograph.pixels, expected / 1023, atol=1e-6)
    assert radiograph.source.steps == ("modality LUT", "VOI LUT")


@pytest.mark.parametrize(
    ("center", "width"), [(50_000, 100), (-9000, 100), (2000, 0), (2000, -5), (2000, 0.5), ("", 100)]
)
def test_a_senseless_window_gives_way_to_the_full_range_with_a_warning(center, width):
    radiograph = read(WindowCenter=center, WindowWidth=width)
    np.testing.assert_allclose(radiograph.pixels, VALUES / VALUES.max(), atol=1e-6)
    (warning,) = radiograph.warnings
    assert "(0028,1050)" in warning
    assert f"(0028,1051) {width:g}" in warning
    assert radiograph.source.steps == ("full range 0..3620",)


def test_pixel_padding_neither_counts_nor_shows():
    values = VALUES.copy()
    values[:, :5] = 4095
    radiograph = read(values, photometric="MONOCHROME1", PixelPaddingValue=4095)
    assert (radiograph.pixels[:, :5] == 0).all()
    shown = VALUES[:, 5:].astype(float)
    np.testing.assert_allclose(
        radiograph.pixels[:, 5:], 1 - (shown - shown.min()) / (shown.max() - shown.min()), atol=1e-6
    )
    assert "pixel padding to black" in radiograph.source.steps


def test_color_becomes_grey():
    rgb = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    radiograph = read(rgb, bits=8, photometric="RGB")
    np.testing.assert_allclose(radiograph.pixels, rgb @ [0.299, 0.587, 0.114] / 255, atol=1e-5)
    assert radiograph.source.steps == ("color to grey",)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless]
)
def test_transfer_syntaxes_that_need_no_extra(syntax):
    image = dataset()
    if syntax == RLELossless:
        written(image)
        image.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_allclose(read_radiograph(written(image, syntax)).pixels, VALUES / 3620, atol=1e-6)


def test_big_endian():
    image = dataset(VALUES.byteswap())
    image["PixelData"].VR = "OW"
    np.testing.assert_allclose(read_radiograph(written(image, ExplicitVRBigEndian)).pixels, VALUES / 3620, atol=1e-6)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_file_without_preamble_is_still_dicom(syntax):
    image = dataset()
    file = BytesIO()
    pydicom.dcmwrite(file, image, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    assert file.getvalue()[128:132] != b"DICM"
    np.testing.assert_allclose(read_radiograph(file.getvalue()).pixels, VALUES / 3620, atol=1e-6)


def test_a_tiff_preamble_does_not_hide_a_dicom_file():
    data = b"II*\0" + written(dataset())[4:]
    assert read_radiograph(data).source.format == "DICOM"


def test_real_files_say_what_was_done(radiographs):
    plain = read_radiograph(radiographs / "nih_dx_chest.dcm")
    assert (plain.source.modality, plain.source.patient_age_years, plain.source.bits) == ("DX", 81.0, 8)
    compressed = read_radiograph(radiographs.parent / "dicom" / "cr_chest_pa_jpeg2000.dcm")
    assert compressed.source.steps == ("window 15000/30000 (LINEAR)", "MONOCHROME1 inverted")
    assert (compressed.source.body_part, compressed.source.view_position) == ("CHEST", "PA")


@pytest.mark.parametrize(
    ("elements", "kind"),
    [
        ({"NumberOfFrames": 2, "PixelData": VALUES.tobytes() * 2}, "multi-frame"),
        ({"Rows": 60_000, "Columns": 60_000}, "too-large"),
        ({"Rows": 0}, "no-pixels"),
        ({"PixelData": VALUES.tobytes()[:-2]}, "truncated"),
        ({"PhotometricInterpretation": "HSV"}, "unsupported"),
    ],
)
def test_what_cannot_be_shown_gets_its_own_error(elements, kind):
    assert kind_of(written(dataset(**elements))) == kind


def test_a_report_has_no_pixels():
    report = dataset()
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    assert kind_of(written(report)) == "no-pixels"


@pytest.mark.parametrize("fraction", [0.3, 0.7, 0.999])
def test_cut_files_are_refused(radiographs, fraction):
    for path in (radiographs / "nih_dx_chest.dcm", radiographs.parent / "dicom" / "cr_chest_pa_jpeg2000.dcm"):
        data = path.read_bytes()
        assert kind_of(data[: int(len(data) * fraction)]) == "truncated"


def test_a_deflated_bomb_is_not_inflated(monkeypatch):
    monkeypatch.setattr("cxr_edge.reading.data_set.MAX_INFLATED", 1000)
    assert kind_of(written(dataset(), DeflatedExplicitVRLittleEndian)) == "too-large"


def test_a_missing_decoder_is_named_with_its_cure(radiographs):
    # A fresh interpreter in which none of the decoder packages can be imported.
    program = """
import sys
for name in ("PIL", "openjpeg", "libjpeg", "pylibjpeg", "gdcm", "jpeg_ls"):
    sys.modules[name] = None
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.errors import InputError
try:
    read_radiograph(sys.argv[1])
except InputError as error:
    print(error.kind, error)
"""
    path = radiographs.parent / "dicom" / "cr_chest_pa_jpeg2000.dcm"
    result = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("missing-decoder")
    assert "JPEG 2000 Image Compression (1.2.840.10008.1.2.4.91)" in result.stdout
    assert 'pip install "cxr-edge[dicom]"' in result.stdout


def test_nothing_that_names_the_patient_is_said(caplog, capfd, recwarn):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = dataset(WindowCenter=9e9, WindowWidth=1, BodyPartExamined=NAME, ViewPosition=NAME)
        data = written(image)
    # A number of frames that is none: pydicom quotes such values when it complains.
    image.add_new("NumberOfFrames", "IS", "1")
    broken = written(image).replace(b"IS\x02\x001 ", b"IS\x02\x00Mu")
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    recwarn.clear()
    radiograph = read_radiograph(data)
    assert kind_of(broken) == "damaged"
    said = str(radiograph.source.to_json()) + str(radiograph.warnings) + caplog.text
    said += "".join(capfd.readouterr()) + "".join(str(warning.message) for warning in recwarn)
    for secret in ("Mustermann", "Erika", "4711", "20190401"):
        assert secret not in said
    assert not recwarn.list
