"""The figure and the lines over the radiograph: what a viewer shows is what this program saw."""

import shutil
import subprocess
from dataclasses import replace

import cv2
import numpy as np
import pytest

import cxr_edge

pytest.importorskip("highdicom", reason="needs the clinic extra")

from pydicom import dcmread

from clinical import changed, errors
from cxr_edge.clinic.pictures import _as_stored, _borders, presentation_state
from cxr_edge.clinic.results import ResultOptions, build_results
from cxr_edge.clinic.study import ResultHeader, read_source
from cxr_edge.explanation import LimeOptions
from cxr_edge.explanation.figures import draw_figure
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.display_parameters import upright
from cxr_edge.reading.image_header import read_image_header
from dicoms import lut

ORIENTATIONS = ["L\\F", "R\\F", "L\\H", "R\\H", "F\\L", "F\\R", "H\\L", "H\\R"]


@pytest.fixture(scope="module")
def dicom(radiographs):
    return radiographs / "nih_dx_chest.dcm"


@pytest.fixture(scope="module")
def model():
    return cxr_edge.load(provider="cpu", gate=False)


@pytest.fixture(scope="module")
def explanation(model, dicom):
    return model.explain(dicom, method="both", lime=LimeOptions(samples=64))


@pytest.fixture(scope="module")
def results(dicom, explanation):
    return build_results(dicom, explanation.answer, explanation=explanation, options=ResultOptions(gsps=True))


def test_the_capture_holds_the_figure_in_its_colors(results, explanation):
    image = results[1]
    assert (image.Modality, image.PhotometricInterpretation) == ("OT", "RGB")
    shown = np.frombuffer(image.PixelData, np.uint8, image.Rows * image.Columns * 3)
    figure = draw_figure(explanation, archived=True)[:, :, ::-1]
    assert np.array_equal(shown.reshape(image.Rows, image.Columns, 3), figure)


def test_the_capture_says_what_is_in_its_pixels_and_invents_no_orientation(results, dicom):
    image, source = results[1], dcmread(dicom, stop_before_pixels=True)
    assert image.BurnedInAnnotation == "YES"
    assert image["PatientOrientation"].VM == 0
    assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_the_figure_of_an_archive_names_no_file_and_no_provider(explanation, tmp_path):
    radiograph = explanation.answer.radiograph
    source = replace(radiograph.source, path=tmp_path / "Mustermann.dcm")
    prediction = replace(explanation.answer.prediction, provider="elsewhere")
    answer = replace(explanation.answer, radiograph=replace(radiograph, source=source), prediction=prediction)
    other = replace(explanation, answer=answer)
    assert np.array_equal(draw_figure(explanation, archived=True), draw_figure(other, archived=True))
    assert not np.array_equal(draw_figure(explanation), draw_figure(other))


def test_what_was_compressed_with_loss_stays_so(model, dicom, tmp_path):
    path = changed(dicom, tmp_path, LossyImageCompression="01")
    explanation = model.explain(path, method="gradcam")
    assert build_results(path, explanation.answer, explanation=explanation)[1].LossyImageCompression == "01"


def test_there_are_lines_for_lungs_and_leading_regions_and_words_at_them(results, explanation):
    state = results[2]
    drawn = {item.GraphicLayer: item for item in state.GraphicAnnotationSequence}
    assert set(drawn) == {"LUNGS", "LIME", "SALIENCY", "RESULT"}
    leading = explanation.lime.coefficients[explanation.lime.ranking[: explanation.lime.top]]
    assert len(drawn["LIME"].TextObjectSequence) == (leading > 0).sum()
    assert "research use only" in drawn["RESULT"].TextObjectSequence[0].UnformattedTextValue
    for line in (line for item in drawn.values() for line in item.get("GraphicObjectSequence", [])):
        points = np.reshape(line.GraphicData, (-1, 2))
        assert line.GraphicType == "POLYLINE"
        assert np.array_equal(points[0], points[-1])
        assert points.min() >= 0
        assert points.max() <= 1024


def test_the_lines_of_the_lungs_enclose_the_lungs(results, explanation):
    state, mask = results[2], explanation.evidence.outline.mask
    (lungs,) = [item for item in state.GraphicAnnotationSequence if item.GraphicLayer == "LUNGS"]
    drawn = np.zeros((1024, 1024), np.uint8)
    for line in lungs.GraphicObjectSequence:
        cv2.fillPoly(drawn, [np.reshape(line.GraphicData, (-1, 1, 2)).round().astype(np.int32)], 1)
    wanted = cv2.resize(mask.astype(np.uint8), (1024, 1024), interpolation=cv2.INTER_NEAREST)
    both, either = (drawn & wanted).sum(), (drawn | wanted).sum()
    assert both / either > 0.98


def rendered(source, state, folder):
    """What dcmtk shows of a radiograph through a presentation state, uint8 [height, width]."""
    state.save_as(folder / "state.dcm", enforce_file_format=True)
    subprocess.run(["dcmp2pgm", "-p", folder / "state.dcm", source, folder / "shown.pgm"], check=True)
    return cv2.imread(str(folder / "shown.pgm"), cv2.IMREAD_UNCHANGED)


def turned(dicom, folder, orientation, **values):
    """The radiograph, cut to be higher than wide, stored so that it has to be turned to be upright."""
    found = dcmread(dicom)
    pixels = np.frombuffer(found.PixelData, np.uint8).reshape(found.Rows, found.Columns)[:, 100:950]
    stored = np.ascontiguousarray(_as_stored(pixels, orientation.replace("\\", "")))
    rows, columns = stored.shape
    size = {"Rows": rows, "Columns": columns, "PixelData": stored.tobytes()}
    return changed(dicom, folder, PatientOrientation=orientation, **size, **values)


def shown_by(explanation, path):
    """The radiograph of a file, and its presentation state with the lines of an explanation that is there already."""
    radiograph = read_radiograph(path)
    explanation = replace(explanation, answer=replace(explanation.answer, radiograph=radiograph))
    return radiograph, presentation_state(ResultHeader(read_source(path), explanation.answer, explanation), explanation)


@pytest.mark.skipif(not shutil.which("dcmp2pgm"), reason="needs dcmp2pgm (Debian's dcmtk)")
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_another_program_turns_the_radiograph_as_this_one(explanation, dicom, tmp_path, orientation):
    path = turned(dicom, tmp_path, orientation)
    radiograph, state = shown_by(explanation, path)
    shown = rendered(path, state, tmp_path)
    assert shown.shape == (1024, 850)
    assert np.array_equal(shown, np.rint(255 * radiograph.pixels))
    assert errors(tmp_path / "state.dcm") == []
    (area,) = state.DisplayedAreaSelectionSequence
    header = read_image_header(read_source(path).elements)
    stored = np.arange(header.rows * header.columns).reshape(header.rows, header.columns)
    seen = upright(stored, orientation.replace("\\", ""))
    left, top = area.DisplayedAreaTopLeftHandCorner
    right, bottom = area.DisplayedAreaBottomRightHandCorner
    assert (stored[top - 1, left - 1], stored[bottom - 1, right - 1]) == (seen[0, 0], seen[-1, -1])


@pytest.mark.skipif(not shutil.which("dcmp2pgm"), reason="needs dcmp2pgm (Debian's dcmtk)")
@pytest.mark.parametrize(
    "values",
    [
        {"WindowCenter": 100, "WindowWidth": 90},
        {"WindowCenter": 30000, "WindowWidth": 1},  # makes no sense: the full range is shown
        {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 100, "WindowWidth": 300},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"VOILUTSequence": lut(255 - np.arange(200) // 2, 20, 16)},
        {"ModalityLUTSequence": lut(np.arange(256) * 3, 0, 16), "WindowCenter": 400, "WindowWidth": 600},
    ],
    ids=" ".join,
)
def test_another_program_shows_the_grey_levels_that_this_one_saw(explanation, dicom, tmp_path, values):
    path = changed(dicom, tmp_path, **values)
    radiograph, state = shown_by(explanation, path)
    assert np.abs(rendered(path, state, tmp_path) - 255 * radiograph.pixels).mean() < 1


def test_a_window_that_is_no_line_is_named(explanation, dicom, tmp_path):
    path = changed(dicom, tmp_path, WindowCenter=100, WindowWidth=90, VOILUTFunction="SIGMOID")
    (window,) = shown_by(explanation, path)[1].SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth, window.VOILUTFunction) == (100, 90, "SIGMOID")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_turned_radiograph_has_its_lines_in_the_pixels_of_the_file(dicom, orientation):
    """A bright square's place in the file, found again through orientation, network input and back."""
    image = read_image_header(read_source(dicom).elements)
    stored = np.zeros((image.rows, image.columns), np.uint8)
    stored[100:300, 600:900] = 1
    small = cv2.resize(upright(stored, orientation.replace("\\", "")), (224, 224), interpolation=cv2.INTER_AREA) > 0.5
    (line,) = _borders(small, image, orientation.replace("\\", ""))
    assert np.abs(line.min(0) - (600, 100)).max() < 5
    assert np.abs(line.max(0) - (900, 300)).max() < 5


def test_a_picture_in_color_gets_no_lines(model, dicom, tmp_path):
    found = dcmread(dicom)
    grey = np.frombuffer(found.PixelData, np.uint8).reshape(found.Rows, found.Columns)
    found.PixelData = np.dstack([grey] * 3).tobytes()
    found.SamplesPerPixel, found.PhotometricInterpretation, found.PlanarConfiguration = 3, "RGB", 0
    found.save_as(tmp_path / "color.dcm")
    explanation = model.explain(tmp_path / "color.dcm", method="gradcam")
    options = ResultOptions(gsps=True)
    results = build_results(tmp_path / "color.dcm", explanation.answer, explanation=explanation, options=options)
    assert [each.Modality for each in results] == ["SR", "OT"]
