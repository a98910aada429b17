import struct
import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph

GREY = np.add.outer(np.arange(96) * 2, np.arange(80)).astype(np.uint8)
RGB = np.stack([GREY, GREY // 2, 255 - GREY], axis=2)


def directory(tags, following=0, start=8):
    """Write a directory of whole numbers, those that do not fit behind it."""
    behind = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, value in sorted(tags.items()):
        numbers = value if isinstance(value, tuple) else (value,)
        entries += struct.pack("<HHI", tag, 4, len(numbers))
        if len(numbers) == 1:
            entries += struct.pack("<I", numbers[0])
        else:
            entries += struct.pack("<I", behind + len(values))
            values += struct.pack(f"<{len(numbers)}I", *numbers)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + values


def tiff(pixels, **changes):
    """Write uncompressed samples; the tags that are given replace those of 8-bit grey."""
    data = pixels if isinstance(pixels, bytes) else pixels.tobytes()
    tags = {256: 80, 257: 96, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 96, 279: len(data)}
    tags |= {int(name[1:]): value for name, value in changes.items()}
    start = 8 + len(data) + len(data) % 2
    return b"II*\0" + struct.pack("<I", start) + data.ljust(start - 8, b"\0") + directory(tags, start=start)


def saved(image, **options):
    file = BytesIO()
    image.save(file, "TIFF", **options)
    return file.getvalue()


def error_of(data):
    with pytest.raises(InputError) as caught:
        read_radiograph(data)
    return caught.value


def two_pages(first, second, **tags_of_first):
    data = first.tobytes() + second.tobytes()
    common = {258: 8, 259: 1, 262: 1, 277: 1}
    start = 8 + len(data)
    one = {256: first.shape[1], 257: first.shape[0], 273: 8, 278: first.shape[0], 279: first.size}
    one |= common | {int(name[1:]): value for name, value in tags_of_first.items()}
    two = {256: second.shape[1], 257: second.shape[0], 273: 8 + first.size, 278: second.shape[0], 279: second.size}
    length = len(directory(one))
    pages = directory(one, following=start + length) + directory(two | common)
    return b"II*\0" + struct.pack("<I", start) + data + pages


@pytest.mark.parametrize("tags", [{"t254": 1}, {"t254": 4}, {"t254": 5}, {"t255": 2}])
def test_the_page_that_is_chosen_is_the_page_that_is_decoded(tags):
    radiograph = read_radiograph(two_pages(GREY[::4, ::4].copy(), GREY, **tags))
    np.testing.assert_array_equal(radiograph.pixels, GREY)
    assert (radiograph.source.width, radiograph.source.height) == (80, 96)


def test_two_pages_are_no_single_radiograph():
    assert error_of(two_pages(GREY[::4, ::4].copy(), GREY)).kind == "multi-frame"
    assert error_of(two_pages(GREY, GREY, t254=2)).kind == "multi-frame"


def test_a_thumbnail_alone_is_taken():
    np.testing.assert_array_equal(read_radiograph(tiff(GREY, t254=1)).pixels, GREY)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_compressions_at_both_depths(compression, depth):
    deep = GREY.astype(depth) * (257 if depth == np.uint16 else 1) ^ 1
    radiograph = read_radiograph(saved(Image.fromarray(deep), compression=compression))
    np.testing.assert_array_equal(radiograph.pixels, deep)
    assert radiograph.maximum == np.iinfo(depth).max


def test_bilevel_pictures_and_fax_compression():
    bits = GREY > 100
    for compression in ("raw", "group3", "group4"):
        radiograph = read_radiograph(saved(Image.fromarray(bits), compression=compression))
        np.testing.assert_array_equal(radiograph.pixels, bits * np.uint8(255))


@pytest.mark.parametrize("photometric", [0, 1])
def test_four_and_twelve_bits(photometric):
    values = GREY >> 4
    packed = (values[:, ::2] << 4 | values[:, 1::2]).astype(np.uint8)
    expected = values if photometric else 15 - values
    radiograph = read_radiograph(tiff(packed, t258=4, t262=photometric))
    np.testing.assert_array_equal(radiograph.pixels / radiograph.maximum, expected / 15)
    deep = GREY.astype(np.uint32) * 16
    pairs = np.stack([deep[:, ::2] >> 4, (deep[:, ::2] & 15) << 4 | deep[:, 1::2] >> 8, deep[:, 1::2] & 255], 2)
    data = tiff(pairs.astype(np.uint8), t258=12, t262=photometric)
    if photometric:
        np.testing.assert_array_equal(read_radiograph(data).pixels, deep)
        assert (read_radiograph(data).maximum, read_radiograph(data).source.bits) == (4095, 12)
    else:
        assert (error_of(data).kind, "12 bits" in error_of(data).problem) == ("unsupported", True)


def test_color_below_a_transparent_alpha_is_seen():
    rgba = np.dstack([RGB, np.zeros_like(GREY)])
    luma = np.asarray(Image.fromarray(RGB).convert("L")).astype(int)
    radiograph = read_radiograph(tiff(rgba, t258=(8, 8, 8, 8), t262=2, t277=4, t338=2))
    np.testing.assert_allclose(radiograph.pixels.astype(int), luma, atol=1)


def test_16_bit_color_is_read_and_said_to_be_shallower():
    deep = RGB.astype(np.uint16) * 257
    radiograph = read_radiograph(tiff(deep, t258=(16, 16, 16), t262=2, t277=3))
    luma = np.asarray(Image.fromarray(RGB).convert("L")).astype(int)
    np.testing.assert_allclose(radiograph.pixels.astype(int), luma, atol=1)
    assert radiograph.source.steps == ("16-bit color read at 8 bits", "color to grey")


def test_8_bit_planes_are_put_together():
    planes = np.moveaxis(RGB, 2, 0).copy()
    data = tiff(
        planes,
        t258=(8, 8, 8),
        t262=2,
        t277=3,
        t284=2,
        t273=(8, 8 + GREY.size, 8 + 2 * GREY.size),
        t279=(GREY.size,) * 3,
    )
    luma = np.asarray(Image.fromarray(RGB).convert("L")).astype(int)
    np.testing.assert_allclose(read_radiograph(data).pixels.astype(int), luma, atol=1)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"t258": (16, 16, 16), "t262": 2, "t277": 3, "t284": 2}, "planes"),
        ({"t259": 34712}, "34712"),
        ({"t259": 6}, "compression 6"),
        ({"t262": 32803}, "32803"),
        ({"t262": 5, "t277": 4, "t258": (8, 8, 8, 8)}, "PhotometricInterpretation 5"),
        ({"t258": 32}, "32-bit"),
        ({"t339": 2}, "signed"),
        ({"t258": 7}, "7 bits"),
    ],
)
def test_what_is_valid_and_not_read_is_named(changes, word):
    error = error_of(tiff(bytes(80 * 96 * 8), **changes))
    assert error.kind == "unsupported"
    assert word in error.problem


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"t279": 80 * 95}, "damaged"),
        ({"t279": 80 * 96 + 1000}, "truncated"),
        ({"t273": 2**31}, "truncated"),
        ({"t256": 0}, "no-pixels"),
        ({"t256": 2**31, "t257": 2**31}, "too-large"),
    ],
)
def test_directories_that_cannot_be_right(changes, kind):
    assert error_of(tiff(GREY, **changes)).kind == kind


def test_a_missing_photometric_interpretation_is_named():
    data = tiff(GREY)
    at = data.index(struct.pack("<HHI", 262, 4, 1))
    error = error_of(data[:at] + struct.pack("<HHI", 300, 4, 1) + data[at + 8 :])
    assert (error.kind, "262" in error.problem) == ("damaged", True)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "zstd", "lzma", "jpeg"])
def test_holes_in_compressed_strips_are_noticed(compression, capfd):
    noise = np.random.default_rng(0).integers(0, 255, (200, 300), np.uint8)
    data = saved(Image.fromarray(noise), compression=compression)
    read_radiograph(data)
    for at in range(1000, 30_000, 5000):
        assert error_of(data[:at] + bytes(200) + data[at + 200 :]).kind == "damaged"
    assert capfd.readouterr().err == ""


def test_an_offset_beyond_all_files():
    data = b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1)
    assert error_of(data).kind == "truncated"
    assert error_of(data[:12]).kind == "truncated"


def test_entries_that_share_one_block_do_not_multiply_it():
    block = bytes(60_000)
    entries = b"".join(struct.pack("<HHII", 1000 + index, 1, len(block), 8) for index in range(5400))
    start = 8 + len(block)
    data = b"II*\0" + struct.pack("<I", start) + block + struct.pack("<H", 5400) + entries + bytes(4)
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            read_radiograph(data)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_tags_that_are_not_needed_say_nothing_and_do_no_harm(compression, capfd):
    data = saved(Image.fromarray(GREY), compression=compression, tiffinfo={1: 7, 40000: "private", 57367: (1, 2, 3)})
    np.testing.assert_array_equal(read_radiograph(data).pixels, GREY)
    assert capfd.readouterr() == ("", "")


def test_a_bigtiff():
    tags = {256: 80, 257: 96, 258: 8, 259: 1, 262: 1, 273: 16, 277: 1, 278: 96, 279: GREY.size}
    entries = b"".join(struct.pack("<HHQQ", tag, 16, 1, value) for tag, value in tags.items())
    header = b"II" + struct.pack("<HHHQ", 43, 8, 0, 16 + GREY.size)
    data = header + GREY.tobytes() + struct.pack("<Q", len(tags)) + entries + bytes(8)
    np.testing.assert_array_equal(read_radiograph(data).pixels, GREY)
    assert error_of(b"MM\0+" + struct.pack(">HHQ", 8, 0, 2**64 - 1)).kind == "unsupported"
