from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_edge.explanation.superpixels import segment
from cxr_edge.prediction.preprocess import to_input
from cxr_edge.reading.decode import read_radiograph


@pytest.fixture(scope="module", params=range(4))
def image(radiographs: Path, request: pytest.FixtureRequest) -> np.ndarray:
    return to_input(read_radiograph(sorted(radiographs.iterdir())[request.param]))


@pytest.mark.parametrize("count", [5, 36, 64])
def test_slic_is_a_connected_partition_the_same_every_time(image: np.ndarray, count: int) -> None:
    regions = segment(image, count=count)
    assert 0.6 * count <= regions.count <= 1.3 * count
    np.testing.assert_array_equal(np.unique(regions.labels), np.arange(regions.count))
    for label in range(regions.count):
        assert cv2.connectedComponents((regions.labels == label).astype(np.uint8), connectivity=4)[0] == 2
    np.testing.assert_array_equal(regions.labels, segment(image, count=count).labels)


def test_slic_follows_the_picture_instead_of_a_chessboard(image: np.ndarray) -> None:
    def within(labels: np.ndarray) -> float:
        sizes = np.bincount(labels.ravel())
        means = np.bincount(labels.ravel(), weights=image.ravel()) / sizes
        return float(((image - means[labels]) ** 2).mean())

    assert within(segment(image).labels) < 0.8 * within(segment(image, method="grid").labels)


def test_grid_and_means() -> None:
    image = np.repeat(np.arange(224, dtype=np.float32)[None, :], 224, axis=0)
    regions = segment(image, method="grid", count=4)
    np.testing.assert_allclose(regions.means(image), [55.5, 167.5, 55.5, 167.5])
    np.testing.assert_array_equal(regions.paint(np.array([1, 2, 3, 4]))[[0, 223], [0, 223]], [1, 4])


def test_a_constant_picture_is_still_partitioned() -> None:
    assert segment(np.full((224, 224), 7, np.float32)).count == 30


def test_quickshift_is_that_of_the_lime_package(image: np.ndarray) -> None:
    pytest.importorskip("skimage", reason="needs cxr-edge[lime]")
    regions = segment(image, method="quickshift")
    assert regions.count > 5
    np.testing.assert_array_equal(np.unique(regions.labels), np.arange(regions.count))


@pytest.mark.parametrize("method", ["slic", "grid"])
def test_a_small_input_gets_fewer_regions_than_asked_for(method: str) -> None:
    regions = segment(np.arange(1024, dtype=np.float32).reshape(32, 32), method=method, count=784)
    assert regions.count <= 32 * 32 // 64
    np.testing.assert_array_equal(np.unique(regions.labels), np.arange(regions.count))
