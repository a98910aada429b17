"""The headers of compressed images."""

import cv2
import numpy as np
import pytest
from openjpeg.utils import encode_array

from cxr_edge.reading.transfer_syntax import read_codestream
from dicoms import VALUES

SMALL = (VALUES // 16).astype(np.uint8)


def facts(data):
    found = read_codestream(data)
    return found and (found.family, found.width, found.height, found.components, found.bits)


@pytest.mark.parametrize(("bits", "container"), [(8, 0), (12, 0), (12, 1)])
def test_jpeg_2000_as_a_codestream_and_in_a_file(bits, container):
    values = VALUES if bits > 8 else SMALL
    data = bytes(encode_array(values, bits_stored=bits, photometric_interpretation=2, codec_format=container))
    assert facts(data) == ("JPEG 2000", 50, 40, 1, bits)
    assert not read_codestream(data).signed


@pytest.mark.parametrize("progressive", [0, 1])
def test_jpeg(progressive):
    data = cv2.imencode(".jpg", SMALL, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    assert facts(data) == ("JPEG", 50, 40, 1, 8)
    assert (read_codestream(data).jfif, read_codestream(data).process) == (True, 0xC2 if progressive else 0xC0)
    # Fill bytes before a marker are allowed (ISO/IEC 10918-1 B.1.1.2).
    assert facts(data.replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1)) == ("JPEG", 50, 40, 1, 8)


def test_a_thumbnail_within_a_jpeg_is_not_its_size():
    whole = cv2.imencode(".jpg", SMALL)[1].tobytes()
    thumbnail = cv2.imencode(".jpg", SMALL[:8, :8])[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    assert facts(whole[:2] + segment + whole[2:]) == ("JPEG", 50, 40, 1, 8)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0", b"\xff\x4f\xff\x51\0", bytes(64), b"\x09" * 64, b"II*\0" * 20]
)
def test_what_is_none_or_damaged_is_none(data):
    assert read_codestream(data) is None
