import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cxr_edge.api import load
from cxr_edge.explanation import LimeOptions, rendering
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.explanation.figures import draw
from cxr_edge.explanation.rendering import Line
from cxr_edge.files import STAMP
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.radiograph import Radiograph, Source
from tiny import lung_picture


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
    short, long = (
        rendering.compose([panel], [Line(" ".join(["word"] * n), "headline"), Line("word " * n)]) for n in (3, 200)
    )
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] > short.shape[0] + 100
    # The last letters would lie there: a headline is bold, and wider than its letters would be otherwise.
    assert not (long[:, -side // 100 :] > 200).any()


def test_warnings_stand_out_from_the_caption() -> None:
    panel = rendering.Panel(np.zeros((400, 400, 3), np.uint8), "title")
    plain, warned = (rendering.compose([panel], [Line("Warning: x", kind)])[440:] for kind in ("plain", "warning"))
    blue, red = (channel.astype(int) for channel in (warned[:, :, 0], warned[:, :, 2]))
    assert (red - blue > 100).any()
    assert (plain[:, :, 0] == plain[:, :, 2]).all()


def test_a_word_that_is_wider_than_the_figure_is_broken_too() -> None:
    panel = rendering.Panel(np.zeros((400, 400, 3), np.uint8), "title")
    drawn = rendering.compose([panel], [Line(f"File {'x' * 250}.png")])
    assert not (drawn[:, -4:] > 200).any()
    assert len(drawn) > len(rendering.compose([panel], [Line("File x.png")])) + 3 * 16


def test_what_no_font_has_is_escaped() -> None:
    panel = rendering.Panel(np.zeros((400, 400, 3), np.uint8), "title")
    one, other, same = (
        rendering.compose([panel], [Line(text)]) for text in ("M\xfcller\n.png", "M\xf6ller\n.png", r"M\xfcller\n.png")
    )
    assert (one != other).any()
    np.testing.assert_array_equal(one, same)


def test_outlines_of_neighbours_do_not_cover_each_other() -> None:
    picture = np.full((400, 400, 3), 128, np.uint8)
    left = np.zeros((400, 400), bool)
    left[:, :200] = True
    drawn = rendering.outline(rendering.outline(picture, left, rendering.PRO), ~left, rendering.CON)
    np.testing.assert_array_equal(drawn[200, 199], rendering.PRO)
    np.testing.assert_array_equal(drawn[200, 200], rendering.CON)


def test_every_file_carries_the_stamp_where_a_reader_looks_first() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    png, jpeg = rendering.to_png(picture), rendering.to_jpeg(picture, quality=100)
    assert png[33:].startswith(b"\x00\x00\x00\x11tEXtSoftware\x00" + STAMP)
    assert jpeg[2:].startswith(b"\xff\xfe\x00\x0a" + STAMP)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), picture)
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == picture.shape
    grey = cv2.imdecode(np.frombuffer(rendering.to_jpeg(picture[:, :, 0]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert grey.shape == (30, 40)


def test_the_text_of_a_png_passes_its_checksum() -> None:
    image = pytest.importorskip("PIL.Image")
    with image.open(io.BytesIO(rendering.to_png(np.zeros((3, 5, 3), np.uint8)))) as opened:
        opened.load()
        assert opened.text == {"Software": STAMP.decode()}


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


@pytest.mark.parametrize(
    ("width", "height"), [(2000, 150), (150, 2000), (1, 5000), (5000, 1), (3, 3), (1, 1), (8000, 6000)]
)
def test_a_picture_of_any_shape_is_drawn_and_no_text_is_cut_off(
    lung_bundle: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    write, cut = rendering._write, []

    def watched(picture: np.ndarray, text: str, origin: tuple[int, int], size: float, **style: Any) -> None:
        right = origin[0] + rendering._extent(text, size, bold=style.get("bold", False))[0]
        if not text.isdigit() and (right > picture.shape[1] or not size <= origin[1] <= len(picture)):
            cut.append(text)
        write(picture, text, origin, size, **style)

    monkeypatch.setattr(rendering, "_write", watched)
    pixels = cv2.resize(lung_picture(), (width, height))
    explanation = load(lung_bundle, provider="cpu").explain(pixels, lime=LimeOptions(superpixels=9, segments="grid"))
    pictures = dict(draw(explanation))
    assert len(pictures) == 5
    assert cut == []
    assert all(max(picture.shape) < 6500 for picture in pictures.values())


def test_wide_pictures_stand_one_below_the_other() -> None:
    def size(width: int, height: int) -> tuple[int, int]:
        panel = rendering.Panel(np.zeros((height, width, 3), np.uint8), "title")
        return rendering.compose([panel] * 3, [Line("text")]).shape[:2]

    assert size(600, 200)[0] > 3 * 200
    assert size(600, 200)[1] < 2 * 600
    assert size(600, 400)[1] > 3 * 600


def test_the_figure_names_its_file_and_nothing_else_of_its_path(
    tiny_bundle: Path, radiographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    compose = rendering.compose
    monkeypatch.setattr(
        rendering, "compose", lambda panels, caption: said.extend(c.text for c in caption) or compose(panels, caption)
    )
    path = tmp_path / "folder of one patient" / "x1.jpeg"
    path.parent.mkdir()
    path.write_bytes((radiographs / "person724_virus_1343.jpeg").read_bytes())
    model = load(tiny_bundle, provider="cpu")
    pictures = list(draw(model.explain(path, method="gradcam")))
    assert sum("File x1.jpeg: " in line for line in said) == len(pictures)
    assert not any("folder of one patient" in line for line in said)
    said.clear()
    list(draw(model.explain(path.read_bytes(), method="gradcam")))
    assert not any("File" in line for line in said)


def test_the_size_of_a_cell_is_drawn_in_the_corner():
    blank = np.zeros((400, 600, 3), np.uint8)
    rows, columns = np.nonzero((rendering.cell(blank, 4, 10) == rendering.LUNG).all(axis=2))
    assert abs(rows.max() - rows.min() - 100) <= 3
    assert abs(columns.max() - columns.min() - 60) <= 3
    assert rows.max() > 380
    assert columns.min() < 20
