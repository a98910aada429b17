import contextlib
import struct
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.jpeg_header import read_jpeg_header
from damage import lossless_jpeg

RAMP = np.add.outer(np.arange(240) // 2, np.arange(320) // 4).astype(np.uint8)
GREY = (RAMP + np.random.default_rng(0).integers(0, 40, RAMP.shape)).astype(np.uint8)
RGB = np.stack([GREY, GREY // 2, 255 - GREY], axis=2)


def encode(image=GREY, *options):
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()


def error_of(data):
    with pytest.raises(InputError) as caught:
        read_radiograph(data)
    return caught.value


def with_segment(data, code, content):
    return data[:2] + bytes([255, code]) + struct.pack(">H", len(content) + 2) + content + data[2:]


def saved(image, mode, **options):
    file = BytesIO()
    Image.fromarray(image).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_grey_is_that_of_opencv_to_the_bit(subsampling):
    for data in (
        encode(),
        encode(GREY, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encode(GREY, cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
        saved(RGB, "RGB", subsampling=subsampling),
        saved(RGB, "CMYK"),
        saved(RGB, "RGB", keep_rgb=True),
    ):
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(read_radiograph(data).pixels, expected)


@pytest.mark.parametrize("scans", range(1, 6))
def test_missing_scans_of_a_progressive_file_are_noticed(scans):
    data = encode(GREY, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    header = read_jpeg_header(data)
    assert len(header.scans) == 6
    assert not header.lacks_scans
    cut = data[: header.scans[scans - 1].end] + b"\xff\xd9"
    assert (error_of(cut).kind, "scans" in error_of(cut).problem) == ("truncated", True)


def test_a_missing_color_component_is_noticed():
    data = saved(RGB, "RGB", progressive=True)
    first = read_jpeg_header(data).scans[0]
    assert len(first.components) == 3
    assert error_of(data[: first.end] + b"\xff\xd9").kind == "truncated"


def test_a_quantization_table_of_zeros_is_noticed():
    data = encode()
    at = data.index(b"\xff\xdb") + 5
    assert error_of(data[:at] + bytes(64) + data[at + 64 :]).kind == "damaged"
    assert error_of(data[: at + 40] + bytes(4) + data[at + 44 :]).kind == "damaged"


def test_padding_before_the_end_marker_is_answered_with_a_warning():
    data = encode()
    radiograph = read_radiograph(data[:-2] + bytes(10) + data[-2:])
    np.testing.assert_array_equal(radiograph.pixels, read_radiograph(data).pixels)
    (warning,) = radiograph.warnings
    assert "needless bytes" in warning


@pytest.mark.parametrize("needless", [bytes(20), b"\x12\x34" * 5])
def test_more_or_other_bytes_before_the_end_marker_are_damage(needless):
    data = encode()
    assert error_of(data[:-2] + needless + data[-2:]).kind == "damaged"


@pytest.mark.parametrize(
    ("code", "content"),
    [
        (0xE0, b"JFIF\0\x02\x05\0\0\1\0\1\0\0"),
        (0xEE, b"Adobe\0\x64\0\0\0\0\x09"),
        (0xE2, b"ICC_PROFILE\0\x05\x02garbage"),
    ],
)
def test_remarks_about_headers_are_no_damage(code, content):
    for data in (encode(), saved(RGB, "RGB"), encode(GREY, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)):
        radiograph = read_radiograph(with_segment(data, code, content))
        np.testing.assert_array_equal(radiograph.pixels, read_radiograph(data).pixels)
        assert radiograph.warnings == read_radiograph(data).warnings


@pytest.mark.parametrize(
    ("process", "bits", "name"),
    [(0xC1, 12, "12-bit JPEG"), (0xC3, 8, "lossless 8-bit JPEG"), (0xC5, 8, "8-bit JPEG"), (0xF7, 8, "JPEG-LS")],
)
def test_what_is_valid_and_not_read_is_named(process, bits, name):
    data = bytearray(lossless_jpeg(GREY, 8) if process == 0xC3 else encode())
    at = next(data.index(bytes([255, code])) for code in (0xC0, 0xC3) if bytes([255, code]) in data)
    data[at + 1], data[at + 4] = process, bits
    error = error_of(bytes(data))
    assert error.kind == "unsupported"
    assert error.problem.startswith(name)


def test_a_hole_in_a_refining_scan_is_noticed_by_its_zeros():
    data = encode(GREY, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    for scan in read_jpeg_header(data).scans:
        if scan.high and scan.end - scan.start > 100:
            middle = (scan.start + scan.end) // 2
            holed = data[: middle - 32] + bytes(64) + data[middle + 32 :]
            if scan.first:
                assert error_of(holed).kind == "damaged"
            else:
                assert "damaged" in read_radiograph(holed).warnings[0]


def test_the_first_exif_block_counts_and_is_bounded():
    block = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 274, 3, 1, 6, 0xFFFFFF00)
    radiograph = read_radiograph(with_segment(encode(), 0xE1, block))  # its second directory lies nowhere
    assert radiograph.source.steps == ("EXIF orientation 6",)
    assert radiograph.pixels.shape == GREY.T.shape
    big = b"Exif\0\0II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1)
    assert read_radiograph(with_segment(encode(), 0xE1, big)).source.steps == ()


@pytest.mark.parametrize("junk", range(8))
def test_junk_inside_is_an_input_error_or_harmless(junk, capfd):
    random = np.random.default_rng(junk)
    data = bytearray(encode())
    at = int(random.integers(2, len(data) - 100))
    data[at : at + 50] = random.bytes(50)
    with contextlib.suppress(InputError):
        read_radiograph(bytes(data))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("components", [0, 2, 200])
def test_a_frame_header_that_cannot_be_right_is_damage(components):
    data = bytearray(encode())
    data[data.index(b"\xff\xc0") + 9] = components
    assert error_of(bytes(data)).kind == "damaged"


def test_a_frame_without_a_scan_is_cut_off():
    data = encode()
    assert error_of(data[: data.index(b"\xff\xda")] + b"\xff\xd9").kind == "truncated"
