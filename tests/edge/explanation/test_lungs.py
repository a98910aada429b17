from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError
from cxr_edge.explanation.lungs import LungSegmenter, inside_share, to_mask
from tiny import lung_picture


@pytest.fixture(scope="module")
def segmenter(lung_bundle: Path) -> LungSegmenter:
    return LungSegmenter(Bundle.open(lung_bundle), provider="cpu", threads=1)


def test_two_rectangles_are_found_at_the_inputs_resolution(segmenter: LungSegmenter) -> None:
    picture = lung_picture()
    outline = segmenter.outline(picture.astype(np.float32))
    assert outline.implausible is None
    assert outline.mask.shape == picture.shape
    assert outline.share == pytest.approx(3 / 8, abs=0.01)
    assert (outline.mask == (picture > 128)).mean() > 0.98


def test_specks_are_no_lung(segmenter: LungSegmenter) -> None:
    picture = lung_picture()
    picture[2:18, 2:18] = 255  # a marker in the corner
    assert not segmenter.outline(picture.astype(np.float32)).mask[:20, :20].any()


def _filled(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    picture = np.zeros((224, 224), np.float32)
    for top, bottom, left, right in boxes:
        picture[top:bottom, left:right] = 255
    return picture


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (_filled(), "covers 0 %"),
        (_filled((0, 224, 0, 224)), "covers 100 %"),
        (_filled((20, 60, 20, 60), (20, 60, 120, 160)), "covers 6 %"),
        (_filled((20, 200, 20, 200)), "two parts"),
        (_filled((20, 200, 20, 100), (20, 60, 140, 180)), "two parts"),
    ],
    ids=["nothing", "everything", "too small", "one part", "one lung and a piece"],
)
def test_what_cannot_be_lungs_is_implausible(segmenter: LungSegmenter, picture: np.ndarray, reason: str) -> None:
    outline = segmenter.outline(picture)
    assert outline.implausible is not None
    assert reason in outline.implausible


def test_a_bundle_without_segmenter_says_what_to_type(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="cxr-export lungs"):
        LungSegmenter(Bundle.open(tiny_bundle))


def test_logits_are_placed_by_the_middle_of_their_blocks() -> None:
    truth = np.zeros((64, 48), np.float32)
    cv2.ellipse(truth, (23, 30), (15, 20), 0, 0, 360, 1, -1)
    halved = truth.reshape(32, 2, 24, 2).mean((1, 3)) - np.float32(0.5)
    mask = to_mask(halved, 64, 48)
    assert 2 * (mask & (truth > 0)).sum() / (mask.sum() + truth.sum()) > 0.98


def test_inside_share_counts_positive_weight_only() -> None:
    weights = np.array([[3.0, 1.0], [-5.0, 0.0]])
    assert inside_share(weights, np.array([[True, False], [True, True]])) == 0.75
    assert inside_share(weights, np.zeros((2, 2), bool)) == 0
    assert inside_share(-np.abs(weights), np.ones((2, 2), bool)) is None
