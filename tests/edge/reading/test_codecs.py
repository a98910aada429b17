import time
import zlib

import cv2
import numpy as np
import pytest

from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph
from damage import compressed, lossless_jpeg, rle

pytest.importorskip("openjpeg", reason="needs the dicom extra")
pytest.importorskip("jpeg_ls", reason="needs the dicom extra")
HOLES = 8


def answer(data):
    try:
        return read_radiograph(data)
    except InputError as error:
        return error


@pytest.fixture(scope="module")
def files(radiographs):
    grey = cv2.imread(str(radiographs / "person586_bacteria_2417.png"), cv2.IMREAD_GRAYSCALE)
    deep = cv2.imread(str(radiographs / "cr_chest_pa_16bit.png"), cv2.IMREAD_UNCHANGED) >> 4
    return [*compressed(grey[100:324, 100:324].copy()), *compressed(deep[100:324, 100:324].copy())]


def test_every_compression_is_read_while_it_is_whole(files):
    assert len({file.kind for file in files}) == 10
    for file in files:
        assert not [warning for warning in read_radiograph(file.data).warnings if "damage" in warning], file.kind


@pytest.mark.parametrize("fill", [0, 255])
def test_no_hole_in_compressed_pixels_is_answered_without_a_word(files, fill, capfd):
    random = np.random.default_rng(fill)
    for file in files:
        before = read_radiograph(file.data)
        for _ in range(HOLES):
            holed = file.with_hole(random, fill=fill)
            after = answer(holed)
            if isinstance(after, InputError):
                assert after.kind in {"damaged", "truncated"}, (file.kind, after)
            else:
                assert np.array_equal(after.pixels, before.pixels) or after.warnings != before.warnings, file.kind
    assert capfd.readouterr() == ("", "")  # no library says anything in our place


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.6, 0.9, 0.97])
def test_cut_pixels_with_the_end_marker_behind_them_are_noticed(files, fraction, capfd):
    for file in files:
        if file.kind != "PNG":  # its chunk has a length and a checksum
            length = int((file.end - file.start) * fraction)
            with pytest.raises(InputError) as caught:
                read_radiograph(file.data[: file.start + length] + file.data[file.end :])
            assert caught.value.kind in {"damaged", "truncated"}, file.kind
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("picture", ["black", "white", "frame", "ramp", "noise", "posterised"])
def test_strange_but_intact_pictures_are_no_damage(picture):
    ramp = np.repeat(np.linspace(0, 255, 600).astype(np.uint8)[None], 400, 0)
    noise = np.random.default_rng(0).integers(0, 256, ramp.shape, np.uint8)
    frame = np.zeros_like(ramp)
    frame[100:300, 150:450] = noise[100:300, 150:450]
    grey = {
        "black": np.zeros_like(ramp),
        "white": np.full_like(ramp, 255),
        "frame": frame,
        "ramp": ramp[:, ::-1].copy(),
        "noise": noise,
        "posterised": ramp // 64 * 64,
    }[picture]
    for pixels in (grey, grey.astype(np.uint16) * 16):
        for file in compressed(pixels):
            assert not [word for word in read_radiograph(file.data).warnings if "damage" in word], file.kind


def test_the_lossless_encoder_of_the_tests_is_right(files):
    """Else the tests above would only show that its files are refused."""
    by_kind = {(file.kind, read_radiograph(file.data).source.bits): read_radiograph(file.data).pixels for file in files}
    for bits in (8, 12):
        exact = by_kind["DICOM JPEG-LS", bits]
        np.testing.assert_array_equal(by_kind["DICOM JPEG lossless", bits], exact)
        np.testing.assert_array_equal(by_kind["JPEG 2000 lossless", bits], exact)
        np.testing.assert_array_equal(by_kind["RLE", bits], exact)


def test_encoders_are_seeded(files):
    first, *_ = files
    holes = [first.with_hole(np.random.default_rng(5)) for _ in range(2)]
    assert zlib.crc32(holes[0]) == zlib.crc32(holes[1]) != zlib.crc32(first.data)
    assert lossless_jpeg(np.zeros((4, 4), np.uint8), 8)[-2:] == b"\xff\xd9"
    assert len(rle(np.zeros((4, 4), np.uint8))) == 64 + 8


@pytest.mark.parametrize("length", [30, 80, 330, 530, -2])
def test_jpeg_ls_without_its_end_marker_is_cut_off_at_once(length, files):
    file = next(file for file in files if file.kind == "DICOM JPEG-LS")
    started = time.perf_counter()
    cut = file.data[: file.start + length] if length > 0 else file.data[: file.end]
    ended = answer(cut + bytes(len(file.data) - len(cut) - 8) + file.data[-8:])
    assert (ended.kind, time.perf_counter() - started < 5) == ("truncated", True)
