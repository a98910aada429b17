from dataclasses import replace

import cv2
import numpy as np
import pytest

from cxr_edge.explanation import rendering
from cxr_edge.explanation.overlays import page_pictures
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.results.output import THUMBNAIL


@pytest.mark.parametrize(("height", "width"), [(1, 5000), (255, 255), (1023, 700), (1025, 2047), (2999, 1400)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_thumbnail_is_the_average_of_its_pixels(height, width, dtype):
    rng = np.random.default_rng(12)
    smooth = cv2.resize(rng.uniform(0, 255, (8, 8)).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    radiograph = replace(read_radiograph(np.zeros((8, 8), np.uint8)), pixels=smooth.astype(dtype), maximum=255.0)
    expected, _ = rendering.grey_picture(radiograph, smallest=1, largest=256)
    data = page_pictures(radiograph)[THUMBNAIL]
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert max(found.shape) == max(expected.shape)
    assert abs(min(found.shape) - min(expected.shape[:2])) <= 1
    other = cv2.resize(expected[:, :, 0], found.shape[::-1])
    assert np.abs(found.astype(int) - other.astype(int)).mean() < 3
