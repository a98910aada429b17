import cv2
import numpy as np
import pytest

from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.radiograph import exposure_warnings, looks, middle_over_sides
from dicoms import VALUES, dataset, written


@pytest.fixture(scope="module")
def chest(radiographs):
    """A radiograph as 12-bit values, bone high."""
    grey = read_radiograph(radiographs / "person724_virus_1343.jpeg").pixels
    return grey.astype(np.uint16) * 16


def warned(values, **elements):
    return read_radiograph(written(dataset(values, **elements))).warnings


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
def test_an_inverted_radiograph_is_told_from_an_upright_one_at_any_depth(radiographs, depth):
    for path in sorted(radiographs.iterdir()):
        radiograph = read_radiograph(path)
        maximum = 1.0 if depth is np.float32 else float(np.iinfo(depth).max)
        pixels = (radiograph.pixels.astype(np.float64) / radiograph.maximum * maximum).astype(depth)
        assert (looks(pixels, maximum), exposure_warnings(pixels, maximum)) == ("upright", ())
        inverted = (maximum - pixels).astype(depth)
        assert looks(inverted, maximum) == "inverted"
        assert [text.split(":")[0] for text in exposure_warnings(inverted, maximum)] == ["The picture looks inverted"]


def test_pictures_of_any_size_are_judged():
    for size in ((1, 1), (1, 900), (3, 2), (700, 1), (5, 5)):
        picture = np.arange(np.prod(size), dtype=np.uint8).reshape(size)
        assert -1 <= middle_over_sides(picture, 255) <= 1
        assert isinstance(exposure_warnings(picture, 255), tuple)


def test_an_inverted_file_is_warned_about(chest):
    assert warned(chest, photometric="MONOCHROME1", bits=12)[0].startswith("The picture looks inverted")
    assert warned(chest, bits=12) == ()
    encoded = cv2.imencode(".png", 255 - (chest // 16).astype(np.uint8))[1].tobytes()
    assert read_radiograph(encoded).warnings[0].startswith("The picture looks inverted")


@pytest.mark.parametrize(("photometric", "sign"), [("MONOCHROME2", 1), ("MONOCHROME1", -1)])
def test_a_sign_that_contradicts_the_photometric_interpretation_is_named(chest, photometric, sign):
    shown_right = chest if photometric == "MONOCHROME2" else 4095 - chest
    (warning,) = warned(shown_right, bits=12, photometric=photometric, PixelIntensityRelationshipSign=sign)
    assert f"(0028,1041) {sign} contradicts" in warning
    assert f"(0028,0004) {photometric}" in warning
    assert warning.endswith("looks upright.")
    assert warned(shown_right, bits=12, photometric=photometric, PixelIntensityRelationshipSign=-sign) == ()
    both = warned(4095 - shown_right, bits=12, photometric=photometric, PixelIntensityRelationshipSign=sign)
    assert [text.split(" ")[-2] for text in both] == ["be", "looks"]
    assert both[1].endswith("looks inverted.")


def test_a_negative_slope_turns_the_sign_around(chest):
    turned = {"RescaleSlope": -1, "RescaleIntercept": 4095}
    assert warned(4095 - chest, bits=12, PixelIntensityRelationshipSign=1, **turned) == ()
    assert "contradicts" in warned(4095 - chest, bits=12, PixelIntensityRelationshipSign=-1, **turned)[0]


@pytest.mark.parametrize(("center", "width"), [(500, 100), (3900, 200), (1500, 10)])
def test_a_window_that_clips_most_pixels_is_named(chest, center, width):
    (warning, *_) = warned(chest, bits=12, WindowCenter=center, WindowWidth=width)
    assert warning.startswith(f"WindowCenter (0028,1050) {center} with WindowWidth (0028,1051) {width} clips ")
    assert "to black or white" in warning


def test_a_window_much_wider_than_the_values_is_named(chest):
    (warning,) = warned(chest, bits=12, WindowCenter=2000, WindowWidth=40_000)
    assert warning.startswith("WindowCenter (0028,1050) 2000 with WindowWidth (0028,1051) 40000 leaves the pixels only")


def test_padding_does_not_count_as_clipped(chest):
    padded = np.pad(chest, [(0, 0), (0, 2 * chest.shape[1])], constant_values=4095)
    padded = np.roll(padded, chest.shape[1], axis=1)
    assert not any("clips" in text for text in warned(padded, bits=12, PixelPaddingValue=4095))


@pytest.mark.parametrize("grey", [0, 7, 255])
def test_one_grey_level_is_not_judged_twice(grey):
    assert exposure_warnings(np.full((30, 30), grey, np.uint8), 255) == ()
    assert exposure_warnings(VALUES, 4095, counted=np.zeros(VALUES.shape, bool)) == ()


@pytest.mark.data
def test_false_alarms_on_training_radiographs(data_folder):
    files = sorted(data_folder.glob("kermany224/train/*/*.jpeg"))[::10] + sorted(data_folder.glob("originals/*/*.jpeg"))
    pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in files]
    alarms = [path.name for path, picture in zip(files, pictures, strict=True) if exposure_warnings(picture, 255)]
    inverted = [looks(255 - picture, 255) for picture in pictures]
    assert len(alarms) <= 0.005 * len(files), alarms
    assert inverted.count("inverted") >= 0.99 * len(files)
