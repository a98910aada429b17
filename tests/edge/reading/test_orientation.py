r"""Radiographs are turned to ``L\F`` with a step that says so, or are warned about."""

from itertools import product

import numpy as np
import pytest

from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.display_parameters import upright
from dicoms import VALUES, dataset, item, written

UPRIGHT = VALUES / VALUES.max()
# How a radiograph looks whose rows and columns run in these directions: made from the upright one, which runs L\F.
LYING = {
    "LF": lambda image: image,
    "RF": np.fliplr,
    "LH": np.flipud,
    "RH": lambda image: np.rot90(image, 2),
    "FL": np.transpose,
    "FR": lambda image: np.rot90(image, 1),
    "HL": lambda image: np.rot90(image, -1),
    "HR": lambda image: np.rot90(image, 2).T,
}


def read(stated, directions="LF", **elements):
    stored = np.ascontiguousarray(LYING[directions](VALUES))
    return read_radiograph(written(dataset(stored, PatientOrientation=stated, **elements)))


@pytest.mark.parametrize("directions", LYING)
@pytest.mark.parametrize("spelled", ["{}\\{}", "{}A\\{}P", "{}PH\\{}RA"])
def test_every_lie_of_a_frontal_view_is_turned_upright_and_said(directions, spelled):
    stated = spelled.format(*directions)
    radiograph = read(stated.split("\\"), directions)
    np.testing.assert_allclose(radiograph.pixels, UPRIGHT, atol=1e-6)
    assert radiograph.warnings == ()
    turns = [step for step in radiograph.source.steps if "PatientOrientation" in step]
    assert len(turns) == (directions != "LF")
    assert all(step.startswith(f"PatientOrientation (0020,0020) {stated}: ") for step in turns)
    height, width = LYING[directions](VALUES).shape
    assert (radiograph.source.height, radiograph.source.width) == (height, width)  # as stored


def test_the_words_of_a_turn_are_right():
    turned = [directions for directions in LYING if directions != "LF"]
    said = {directions: read([*directions], directions).source.steps[0].split(": ")[1] for directions in turned}
    assert said == {
        "RF": "mirrored left to right",
        "LH": "mirrored top to bottom",
        "RH": "turned by 180 degrees",
        "FL": "mirrored about its main diagonal",
        "FR": "turned by 90 degrees clockwise",
        "HL": "turned by 90 degrees counter-clockwise",
        "HR": "mirrored about its other diagonal",
    }
    # Rows that run to the feet have the feet on their right side; clockwise, right becomes bottom.
    np.testing.assert_array_equal(upright(np.array([[1, 2], [3, 4]]), "FR"), [[3, 1], [4, 2]])


def test_case_and_blanks_do_not_count():
    np.testing.assert_allclose(read(["r ", " f"], "RF").pixels, UPRIGHT, atol=1e-6)


@pytest.mark.parametrize("stated", [list(pair) for pair in product("LRAPHF", repeat=2) if "".join(pair) not in LYING])
def test_what_is_no_frontal_view_or_contradicts_itself_is_warned_about_and_left(stated):
    radiograph = read(stated)
    np.testing.assert_allclose(radiograph.pixels, UPRIGHT, atol=1e-6)
    (warning,) = radiograph.warnings
    assert warning.startswith(f"PatientOrientation (0020,0020) is {stated[0]}\\{stated[1]}")
    assert warning.endswith("It was not turned.")
    assert ("no frontal view" in warning) == bool({"A", "P"} & {*stated})


@pytest.mark.parametrize("stated", [["L"], ["LE", "V"], ["L", "F", "H"], ["MUSTERMANN", "ERIKA"], ["LFHA", "F"]])
def test_what_cannot_be_read_is_warned_about_and_not_quoted(stated):
    (warning,) = read(stated).warnings
    assert warning.startswith("PatientOrientation (0020,0020) cannot be read")
    assert "MUSTERMANN" not in warning


def test_nothing_stated_is_nothing_said():
    for stated in ("", None):
        image = dataset()
        image.PatientOrientation = stated
        assert read_radiograph(written(image)).warnings == ()


def test_padding_and_color_are_turned_along():
    values = VALUES.copy()
    values[:, :5] = 4095
    image = dataset(np.fliplr(values).copy(), PatientOrientation=["R", "F"], PixelPaddingValue=4095)
    radiograph = read_radiograph(written(image))
    assert (radiograph.pixels[:, :5] == 0).all()
    assert (radiograph.pixels[:, 6:] > 0).any()
    color = np.repeat((VALUES // 16).astype(np.uint8)[..., None], 3, 2)
    lying = dataset(np.flipud(color).copy(), bits=8, photometric="RGB", PatientOrientation=["L", "H"])
    np.testing.assert_allclose(read_radiograph(written(lying)).pixels, VALUES // 16 / 255, atol=1e-5)


def test_the_orientation_of_a_frame_is_read():
    groups = [item(PatientOrientationInFrameSequence=[item(PatientOrientation=["R", "F"])])]
    image = dataset(np.fliplr(VALUES).copy(), SharedFunctionalGroupsSequence=groups)
    np.testing.assert_allclose(read_radiograph(written(image)).pixels, UPRIGHT, atol=1e-6)
