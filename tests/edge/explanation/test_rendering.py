from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_edge.api import load
from cxr_edge.explanation import rendering
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.explanation.figures import draw
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.radiograph import Radiograph, Source


def radiograph(height: int, width: int) -> Radiograph:
    pixels = np.random.default_rng(0).integers(0, 65535, (height, width)).astype(np.uint16)
    return Radiograph(pixels, 65535.0, Source(None, "array", width, height, 16))


def test_a_picture_keeps_its_resolution_unless_the_limits_ask() -> None:
    picture, factor = rendering.grey_picture(radiograph(300, 500), smallest=400, largest=600)
    assert (picture.shape, factor) == ((300, 500, 3), 1.0)
    larger, factor = rendering.grey_picture(radiograph(300, 500), smallest=1000, largest=2000)
    assert (larger.shape, factor) == ((600, 1000, 3), 2.0)
    smaller, factor = rendering.grey_picture(radiograph(300, 500), smallest=10, largest=250)
    assert (smaller.shape, factor) == ((150, 250, 3), 0.5)


def test_heat_leaves_zero_untouched_and_never_hides_the_picture() -> None:
    picture = np.full((4, 5, 3), 100, np.uint8)
    values = np.zeros((4, 5), np.float32)
    values[0, 0] = 1.0
    drawn = rendering.heat(picture, values)
    np.testing.assert_array_equal(drawn[1:], picture[1:])
    assert (drawn[0, 0] != 100).any()
    brighter = rendering.heat(np.full((4, 5, 3), 200, np.uint8), values)
    assert (brighter[0, 0] > drawn[0, 0]).all()


def test_cons_are_hatched_and_pros_are_plain() -> None:
    picture = np.full((200, 200, 3), 100, np.uint8)
    pros = rendering.tint(picture, np.full((200, 200), 0.8, np.float32))
    cons = rendering.tint(picture, np.full((200, 200), -0.8, np.float32))
    assert len(np.unique(pros.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(cons.reshape(-1, 3), axis=0)) == 2


def test_enlarged_labels_keep_their_place_and_invent_none() -> None:
    labels = np.zeros((224, 224), np.int32)
    labels[:, 112:] = 5
    labels[112:, 112:] = 9
    large = rendering.enlarge_labels(labels, 1000, 700)
    np.testing.assert_array_equal(np.unique(large), [0, 5, 9])
    assert (large[100, 100], large[100, 600], large[900, 600]) == (0, 5, 9)
    np.testing.assert_array_equal(np.unique(rendering.enlarge_labels(labels + 300, 500, 500)), [300, 305, 309])


@pytest.mark.parametrize("side", [400, 1000, 1250, 2000])
def test_long_captions_are_broken_not_cut(side: int) -> None:
    panel = rendering.Panel(np.zeros((side, side, 3), np.uint8), "title")
    short, long = (rendering.compose([panel], [" ".join(["word"] * n)] * 2) for n in (3, 200))
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] > short.shape[0] + 100
    # The last letters would lie there: the first line is bold, and wider than its letters would be otherwise.
    assert not (long[:, -side // 100 :] > 200).any()


def test_warnings_stand_out_from_the_caption() -> None:
    panel = rendering.Panel(np.zeros((400, 400, 3), np.uint8), "title")
    plain, warned = (rendering.compose([panel], ["first", text])[440:] for text in ("Notice: x", "Warning: x"))
    blue, red = (channel.astype(int) for channel in (warned[:, :, 0], warned[:, :, 2]))
    assert (red - blue > 100).any()
    assert (plain[:, :, 0] == plain[:, :, 2]).all()


@pytest.fixture(scope="module")
def explanation(tiny_bundle: Path, radiographs: Path) -> Explanation:
    pixels = read_radiograph(min(radiographs.iterdir())).pixels[:, :150]
    return load(tiny_bundle, provider="cpu").explain(np.ascontiguousarray(pixels))


def test_every_picture_is_drawn_in_the_radiographs_aspect_ratio(explanation: Explanation) -> None:
    pictures = dict(draw(explanation))
    assert list(pictures) == ["figure.png", "gradcam.png", "lime-region.png", "lime-whole.png", "lime-pros-cons.png"]
    height, width = explanation.answer.radiograph.pixels.shape
    factor = 640 / max(height, width)
    assert pictures["figure.png"].shape[1] > 3 * width * factor
    assert pictures["figure.png"].shape[0] > height * factor
    decoded = cv2.imdecode(np.frombuffer(rendering.to_png(pictures["gradcam.png"]), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded, pictures["gradcam.png"])


def test_only_what_is_certain_is_coloured_as_for_or_against(tiny_bundle: Path, radiographs: Path) -> None:
    def coloured(picture: np.ndarray) -> float:
        return float((np.ptp(picture[:600].astype(int), axis=2) > 20).mean())  # without the caption

    explanation = load(tiny_bundle, provider="cpu").explain(radiographs / "person724_virus_1343.jpeg", method="lime")
    lime = explanation.lime
    doubtful = replace(lime, estimate=replace(lime.estimate, variance=np.full_like(lime.estimate.variance, 1e6)))
    sure, unsure = (dict(draw(replace(explanation, lime=each)))["lime-pros-cons.png"] for each in (lime, doubtful))
    assert coloured(sure) > 0.05
    assert coloured(unsure) == 0


def test_only_what_was_asked_for_is_drawn(explanation: Explanation) -> None:
    assert [name for name, _ in draw(replace(explanation, lime=None))] == ["figure.png", "gradcam.png"]
    assert "gradcam.png" not in dict(draw(replace(explanation, saliency=None)))


def test_a_flat_explanation_is_drawn_and_says_so(tiny_bundle: Path) -> None:
    flat = load(tiny_bundle, provider="cpu").explain(np.full((300, 200), 80, np.uint8))
    pictures = dict(draw(flat))
    assert flat.lime.stopped == "flat"
    assert len(pictures) == 5
