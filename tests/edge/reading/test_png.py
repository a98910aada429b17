import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph

GREY = np.add.outer(np.arange(37) * 2, np.arange(61) * 3).astype(np.uint8)
HEADER = struct.pack(">IIBBBBB", 61, 37, 8, 0, 0, 0, 0)
ROWS = b"".join(b"\0" + row.tobytes() for row in GREY)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, content) for name, content in (*chunks, (b"IEND", b"")))


def error_of(data, capfd):
    with pytest.raises(InputError) as caught:
        read_radiograph(data)
    assert capfd.readouterr() == ("", "")
    return caught.value


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"IDAT", zlib.compress(ROWS))],
        [(b"IHDR", HEADER), (b"IDAT", zlib.compress(ROWS[:-1]))],
        [(b"IHDR", HEADER), (b"IDAT", zlib.compress(ROWS)[:-4])],
        [(b"IHDR", HEADER), (b"IDAT", zlib.compress(ROWS)[:-4] + b"1234")],
        [(b"IHDR", HEADER), (b"IDAT", b"no stream")],
        [(b"IHDR", HEADER), (b"IDAT", zlib.compress(b"\x05" + ROWS[1:]))],
        [(b"IHDR", HEADER)],
        [(b"IHDR", HEADER[:8]), (b"IDAT", zlib.compress(ROWS))],
        [(b"IHDR", HEADER[:8] + b"\7\0\0\0\0"), (b"IDAT", zlib.compress(ROWS))],
        [(b"IHDR", HEADER[:8] + b"\x08\x05\0\0\0"), (b"IDAT", zlib.compress(ROWS))],
        [(b"IHDR", HEADER[:8] + b"\x08\x03\0\0\0"), (b"IDAT", zlib.compress(ROWS))],
        [(b"IHDR", HEADER), (b"\0\1\2\3", b""), (b"IDAT", zlib.compress(ROWS))],
    ],
    ids=lambda chunks: b"-".join(name for name, _ in chunks).decode(),
)
def test_what_checksums_cannot_know_is_damage(chunks, capfd):
    assert error_of(png(*chunks), capfd).kind == "damaged"


def test_a_header_of_garbage_is_damage_whatever_size_it_names(capfd):
    data = bytearray(png((b"IHDR", HEADER), (b"IDAT", zlib.compress(ROWS))))
    data[16:29] = b"\xff" * 13
    assert error_of(bytes(data), capfd).kind == "damaged"


def test_a_bomb_is_inflated_no_further_than_its_header_says(capfd):
    data = png((b"IHDR", HEADER), (b"IDAT", zlib.compress(bytes(50_000_000))))
    np.testing.assert_array_equal(read_radiograph(data).pixels, np.zeros_like(GREY))
    assert capfd.readouterr() == ("", "")


def test_chunks_that_libpng_complains_about_do_no_harm(capfd):
    data = png(
        (b"IHDR", HEADER), (b"iCCP", b"x\0\0abc"), (b"gAMA", b""), (b"tRNS", b"12345"), (b"IDAT", zlib.compress(ROWS))
    )
    np.testing.assert_array_equal(read_radiograph(data).pixels, GREY)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_interlaced_pictures_of_every_depth(depth):
    """Adam7, built by hand: the pixels of pass after pass, each with rows of its own."""
    values = (GREY.astype(np.uint32) * ((1 << depth) - 1) // 255).astype(np.uint16)
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b""
    for x, y, across, down in passes:
        for row in values[y::down, x::across]:
            bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            rows += b"\0" + np.packbits(bits.astype(np.uint8).ravel()).tobytes()
    data = png((b"IHDR", struct.pack(">IIBBBBB", 61, 37, depth, 0, 0, 0, 1)), (b"IDAT", zlib.compress(rows)))
    radiograph = read_radiograph(data)
    np.testing.assert_array_equal(
        radiograph.pixels, values.astype(np.uint32) * int(radiograph.maximum) // ((1 << depth) - 1)
    )
    assert radiograph.source.bits == depth


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_every_kind_that_another_writer_makes(mode):
    file = BytesIO()
    image = Image.fromarray(GREY).convert(mode)
    image.save(file, "PNG")
    luma = np.asarray(image.convert("L"))
    np.testing.assert_allclose(read_radiograph(file.getvalue()).pixels.astype(int), luma, atol=1)
