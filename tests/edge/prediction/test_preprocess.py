import numpy as np
import pytest

from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.radiograph import Radiograph, Source


def bilinear(image, height, width):
    """Half-pixel-centred bilinear interpolation without antialiasing, written out."""
    rows = np.clip((np.arange(height) + 0.5) * image.shape[0] / height - 0.5, 0, image.shape[0] - 1)
    columns = np.clip((np.arange(width) + 0.5) * image.shape[1] / width - 0.5, 0, image.shape[1] - 1)
    y, x = rows.astype(int), columns.astype(int)
    below, right = np.minimum(y + 1, image.shape[0] - 1), np.minimum(x + 1, image.shape[1] - 1)
    v, u = (rows - y)[:, None], (columns - x)[None]
    top = image[y][:, x] * (1 - u) + image[y][:, right] * u
    bottom = image[below][:, x] * (1 - u) + image[below][:, right] * u
    return top * (1 - v) + bottom * v


@pytest.mark.parametrize("shape", [(300, 500), (100, 90), (224, 224), (1000, 230)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_plain_bilinear_squash_to_0_to_255(shape, dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    pixels = to_input(read_radiograph(image))
    assert (pixels.shape, pixels.dtype) == ((224, 224), np.float32)
    expected = bilinear(image.astype(float), 224, 224) * 255 / np.iinfo(dtype).max
    np.testing.assert_allclose(pixels, expected, atol=0.1)


def test_nothing_is_rounded_away():
    deep = np.full((50, 50), 1000, np.uint16)
    np.testing.assert_allclose(to_input(read_radiograph(deep)), 1000 * 255 / 65535, rtol=1e-5)


def test_the_same_picture_at_8_and_16_bits_is_the_same_input(radiographs):
    radiograph = read_radiograph(radiographs / "person586_bacteria_2417.png")
    deep = read_radiograph(radiograph.pixels.astype(np.uint16) * 257)
    np.testing.assert_allclose(to_input(radiograph), to_input(deep), atol=1e-3)


def test_an_unchanged_size_is_an_unchanged_picture():
    image = np.random.default_rng(0).integers(0, 256, (224, 224), np.uint8)
    np.testing.assert_array_equal(to_input(read_radiograph(image)), image)


def test_any_white_level():
    source = Source(None, "array", 5, 5, 12)
    pixels = to_input(Radiograph(np.full((5, 5), 4095, np.uint16), 4095.0, source), height=3, width=4)
    np.testing.assert_allclose(pixels, np.full((3, 4), 255.0), rtol=1e-6)


@pytest.mark.data
def test_originals_match_their_224_copies(data_folder):
    differences = []
    for path in sorted(data_folder.glob("originals/*/*.jpeg")):
        copy = data_folder / "kermany224" / "train" / path.parent.name / path.name
        differences.append(np.abs(to_input(read_radiograph(path)) - to_input(read_radiograph(copy))).mean())
    assert len(differences) == 80
    assert max(differences) < 4  # grey levels; what JPEG at quality 95 takes from a noisy image
