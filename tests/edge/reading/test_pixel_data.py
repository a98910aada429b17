"""How stored values are read: words, compressed frames, and what contradicts what."""

import re
import struct
import time

import cv2
import numpy as np
import pytest
from openjpeg.utils import encode_array
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph
from dicoms import NAME, VALUES, compressed, dataset, written

SMALL = (VALUES // 16).astype(np.uint8)
SIGNED = VALUES.astype(np.int16) - 2048


def jpeg_2000(values=VALUES, bits=12):
    return bytes(encode_array(values, bits_stored=bits, photometric_interpretation=2 if values.ndim == 2 else 1))


def jpeg(values=SMALL):
    return cv2.imencode(".jpg", values, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


def jpeg_ls(*, width, height, bits, components=1):
    """The head of a frame; no decoder must ever see it."""
    names = b"".join(bytes((index + 1, 0x11, 0)) for index in range(components))
    frame = struct.pack(">BHHB", bits, height, width, components) + names
    return b"\xff\xd8\xff\xf7" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xda\0\x08\1\1\0\0\0\0" + bytes(64)


def rle(values=VALUES):
    image = dataset(values)
    written(image)
    image.compress(RLELossless, generate_instance_uid=False)
    return image


def refused(data):
    with pytest.raises(InputError) as caught:
        read_radiograph(data)
    assert "Mustermann" not in str(caught.value)
    return caught.value


def shown(data):
    radiograph = read_radiograph(data)
    assert 0 <= radiograph.pixels.min() <= radiograph.pixels.max() <= 1
    return radiograph


FULL = VALUES / VALUES.max()


@pytest.mark.parametrize("high", [11, 12, 13, 14, 15])
@pytest.mark.parametrize("values", [VALUES, SIGNED])
def test_the_stored_bits_may_lie_anywhere_in_the_word(values, high):
    above, below = 15 - high, high - 11
    words = (values.astype(np.int32) << below) & (0xFFFF >> above)
    words |= ((1 << below) - 1) | (0xFFFF << (high + 1) & 0xFFFF)  # the bits around belong to nothing
    signed = values.dtype.kind == "i"
    image = dataset(words.astype(np.uint16), HighBit=high, PixelRepresentation=int(signed))
    radiograph = shown(written(image))
    np.testing.assert_allclose(radiograph.pixels, FULL, atol=1e-6)
    assert radiograph.source.steps == (f"full range {values.min()}..{values.max()}",)
    assert radiograph.warnings == ()


def test_big_endian_words_are_shifted_alike():
    image = dataset((VALUES << 4).byteswap(), HighBit=15)
    image["PixelData"].VR = "OW"
    np.testing.assert_allclose(shown(written(image, ExplicitVRBigEndian)).pixels, FULL, atol=1e-6)


@pytest.mark.parametrize("high", [3, 16, 99])
def test_a_high_bit_that_cannot_be_is_named(high):
    radiograph = shown(written(dataset(HighBit=high)))
    np.testing.assert_allclose(radiograph.pixels, FULL, atol=1e-6)
    assert radiograph.warnings[0].startswith(f"HighBit (0028,0102) is {high},")


TYPE_1 = (
    ("Rows", "0028,0010"),
    ("Columns", "0028,0011"),
    ("SamplesPerPixel", "0028,0002"),
    ("PhotometricInterpretation", "0028,0004"),
    ("BitsAllocated", "0028,0100"),
    ("BitsStored", "0028,0101"),
    ("PixelRepresentation", "0028,0103"),
)


@pytest.mark.parametrize(("keyword", "tag"), TYPE_1)
@pytest.mark.parametrize("how", ["missing", "empty", "missing and compressed"])
def test_a_missing_element_of_type_1_is_named(keyword, tag, how):
    image = dataset()
    if "compressed" in how:
        image = rle()
    delattr(image, keyword)
    if how == "empty":
        setattr(image, keyword, None)
    error = refused(written(image, RLELossless if "compressed" in how else ExplicitVRLittleEndian))
    assert f"{keyword} ({tag}) is missing" in str(error)
    assert error.kind == "damaged"
    assert not re.search("cut off|uncompressed|decoded", str(error))


def test_what_can_be_told_without_an_element_is_told():
    without = shown(written(dataset(HighBit=None)))
    assert without.warnings == ("HighBit (0028,0102) is missing: 11 is assumed.",)
    color = np.repeat(SMALL[..., None], 3, 2)
    without = shown(written(dataset(color, bits=8, photometric="RGB", PlanarConfiguration=None)))
    assert without.warnings == ("PlanarConfiguration (0028,0006) is missing: colors pixel by pixel are assumed.",)
    np.testing.assert_allclose(without.pixels, SMALL / 255, atol=1e-5)


@pytest.mark.parametrize(
    ("elements", "tag", "kind"),
    [
        ({"BitsAllocated": 12}, "(0028,0100)", "unsupported"),
        ({"BitsAllocated": 64}, "(0028,0100)", "unsupported"),
        ({"BitsStored": 17}, "(0028,0101)", "damaged"),
        ({"BitsStored": 0}, "(0028,0101)", "damaged"),
        ({"PixelRepresentation": 2}, "(0028,0103)", "unsupported"),
        ({"SamplesPerPixel": 2}, "(0028,0002)", "unsupported"),
        ({"SamplesPerPixel": 4, "PhotometricInterpretation": "RGB"}, "(0028,0002)", "unsupported"),
        ({"PhotometricInterpretation": "RGB"}, "(0028,0004)", "unsupported"),
        ({"PhotometricInterpretation": "CMYK"}, "(0028,0004)", "unsupported"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "(0028,1101)", "damaged"),
    ],
)
def test_a_header_that_cannot_be_is_named(elements, tag, kind):
    error = refused(written(dataset(**elements)))
    assert (tag in str(error), error.kind) == (True, kind)


@pytest.mark.parametrize("spelled", ["monochrome1", " MONOCHROME1 ", "Monochrome1", "MONOCHROME 1", "MONOCHROME1\0\0"])
def test_case_and_blanks_of_the_photometric_interpretation_do_not_count(spelled):
    radiograph = shown(written(dataset(photometric=spelled)))
    np.testing.assert_allclose(radiograph.pixels, 1 - FULL, atol=1e-6)
    color = np.stack([SMALL, SMALL // 2, SMALL // 3], 2)
    np.testing.assert_allclose(
        shown(written(dataset(color, bits=8, photometric="rgb "))).pixels,
        color @ [0.299, 0.587, 0.114] / 255,
        atol=1e-5,
    )


def test_three_samples_of_grey_are_grey():
    color = np.repeat(SMALL[..., None], 3, 2)
    np.testing.assert_allclose(shown(written(dataset(color, bits=8))).pixels, SMALL / 255, atol=1e-5)


# Transfer syntax and codestream


@pytest.mark.parametrize(
    ("codestream", "bits", "values", "family"),
    [
        (jpeg_2000(), 12, VALUES, "JPEG 2000"),
        (jpeg(), 8, SMALL, "JPEG"),
        (None, 12, VALUES, "RLE"),
    ],
)
def test_a_missing_transfer_syntax_is_found_out_and_named(codestream, bits, values, family):
    data = written(rle(), None) if codestream is None else compressed(codestream, None, values, bits=bits)
    radiograph = shown(data)
    white = values.max() if bits > 8 else 255
    np.testing.assert_allclose(radiograph.pixels, values / white, atol=0.01)
    assert radiograph.warnings[0] == f"TransferSyntaxUID (0002,0010) is missing: the pixels begin as {family}."


def test_pixels_of_no_known_compression_without_a_transfer_syntax_name_the_element():
    error = refused(compressed(b"nonsense" * 40, None))
    assert "(0002,0010)" in str(error)
    assert "cut off" not in str(error)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless])
def test_a_transfer_syntax_that_contradicts_the_compressed_pixels_is_named(syntax):
    data = compressed(jpeg_2000(), JPEG2000).replace(str(JPEG2000).encode(), str(syntax).encode().ljust(22, b"\0"))
    error = refused(data)
    assert "its transfer syntax (0002,0010) is " in str(error)
    assert "its pixel data are compressed as JPEG 2000" in str(error)
    assert (error.kind, "cut off" in str(error)) == ("damaged", False)


def test_jpeg_that_is_stated_to_be_jpeg_ls_is_read_and_named():
    data = compressed(jpeg(), JPEGLSLossless, SMALL, bits=8)
    radiograph = shown(data)
    np.testing.assert_allclose(radiograph.pixels, SMALL / 255, atol=0.01)
    assert radiograph.warnings[0] == (
        "TransferSyntaxUID (0002,0010) is JPEG-LS Lossless Image Compression (1.2.840.10008.1.2.4.80):"
        " the pixels begin as JPEG."
    )


def test_compressed_pixels_of_a_stated_length_are_found():
    image = dataset()
    image.add_new("PixelData", "OB", encapsulate([jpeg_2000()], has_bot=False))
    error = refused(written(image))
    assert "(0002,0010) is Explicit VR Little Endian" in str(error)
    assert "compressed as JPEG 2000" in str(error)
    assert shown(written(image, None)).warnings[0].endswith("the pixels begin as JPEG 2000.")


@pytest.mark.parametrize("syntax", [JPEG2000, JPEGBaseline8Bit, JPEGLSLossless, RLELossless])
def test_a_transfer_syntax_of_compressed_pixels_over_uncompressed_ones_is_named(syntax):
    data = written(dataset())
    stated = b"1.2.840.10008.1.2.1\0"
    at = data.index(stated)
    uid = str(syntax).encode().ljust(22, b"\0")
    data = data[: at - 2] + struct.pack("<H", 22) + uid + data[at + 20 :]
    error = refused(data)
    assert "(0002,0010)" in str(error)
    assert "not compressed" in str(error)


@pytest.mark.parametrize(
    ("uid", "named"),
    [
        ("1.2.840.10008.1.2.4.100", "MPEG2"),
        ("1.2.840.10008.1.2.4.102", "MPEG-4"),
        ("1.2.840.10008.1.2.4.107", "HEVC"),
        ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
        ("1.2.840.10008.1.2.4.112", "JPEG XL"),
        ("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2"),
        ("1.2.840.10008.1.2.4.94", "JPIP"),
        ("1.2.840.10008.1.2.4.55", "JPEG Full Progression"),
        ("1.2.840.113619.5.2", "1.2.840.113619.5.2"),
    ],
)
def test_a_valid_transfer_syntax_that_is_not_supported_is_called_so_by_its_name(uid, named):
    data = compressed(jpeg_2000(), JPEG2000)
    at = data.index(str(JPEG2000).encode())
    padded = uid.encode() + b"\0" * (len(uid) % 2)
    error = refused(data[: at - 2] + struct.pack("<H", len(padded)) + padded + data[at + 22 :])
    assert error.kind == "unsupported"
    assert f"(0002,0010) is {named}" in str(error)


def test_a_transfer_syntax_that_is_no_uid_is_not_quoted():
    data = compressed(jpeg_2000(), JPEG2000).replace(str(JPEG2000).encode(), NAME.encode().ljust(22)[:22])
    assert "(0002,0010) is no UID" in str(refused(data))


@pytest.mark.parametrize("stored", [8, 12, 16])
def test_8_bits_in_words_of_16_are_decoded(stored):
    data = compressed(jpeg(), JPEGBaseline8Bit, VALUES, bits=stored, WindowCenter=128, WindowWidth=256)
    radiograph = shown(data)
    np.testing.assert_allclose(radiograph.pixels, SMALL / 255, atol=0.01)
    said = [text for text in radiograph.warnings if "BitsStored (0028,0101)" in text]
    assert said == ([] if stored == 8 else [f"The compressed image has 8 bits, BitsStored (0028,0101) says {stored}."])


def test_a_codestream_deeper_than_bits_stored_is_read_by_its_high_bit():
    deep = jpeg_2000(VALUES << 4, bits=16)
    np.testing.assert_allclose(shown(compressed(deep, JPEG2000Lossless, HighBit=15)).pixels, FULL, atol=1e-6)
    flat = jpeg_2000(VALUES, bits=16)
    np.testing.assert_allclose(shown(compressed(flat, JPEG2000Lossless)).pixels, FULL, atol=1e-6)


CONTRADICTIONS = [
    (jpeg_2000(), JPEG2000, "50x40"),
    (jpeg(), JPEGBaseline8Bit, "50x40"),
    (jpeg_ls(width=50, height=40, bits=8), JPEGLSLossless, "50x40"),
]


@pytest.mark.parametrize(("codestream", "syntax", "found"), CONTRADICTIONS)
@pytest.mark.parametrize("size", [(50, 40), (80, 25), (39, 50), (40, 51), (400, 500)])
def test_a_codestream_of_another_size_is_refused(codestream, syntax, found, size):
    error = refused(compressed(codestream, syntax, SMALL, bits=8, BitsAllocated=16, Rows=size[0], Columns=size[1]))
    assert f"the compressed image has {found} pixels" in str(error)
    assert f"Columns (0028,0011) and Rows (0028,0010) say {size[1]}x{size[0]}" in str(error)
    assert error.kind == "damaged"


@pytest.mark.parametrize("family", ["JPEG 2000", "JPEG", "JPEG-LS"])
def test_a_huge_codestream_is_refused_before_anything_is_allocated(family):
    if family == "JPEG-LS":
        codestream, syntax = jpeg_ls(width=65_000, height=65_000, bits=8), JPEGLSLossless
    elif family == "JPEG":
        codestream, syntax = jpeg(), JPEGBaseline8Bit
        at = codestream.index(b"\xff\xc0") + 5
        codestream = codestream[:at] + struct.pack(">HH", 65_000, 65_000) + codestream[at + 4 :]
    else:
        codestream, syntax = jpeg_2000(), JPEG2000
        codestream = codestream[:8] + struct.pack(">II", 2**31, 2**31) + codestream[16:]
    started = time.perf_counter()
    assert "Rows (0028,0010)" in str(refused(compressed(codestream, syntax, SMALL, bits=8)))
    assert time.perf_counter() - started < 2


def test_a_codestream_with_other_samples_or_more_bits_is_refused():
    color = np.repeat(SMALL[..., None], 3, 2)
    assert "SamplesPerPixel (0028,0002) says 1" in str(
        refused(compressed(jpeg(color), JPEGBaseline8Bit, SMALL, bits=8))
    )
    error = refused(compressed(jpeg(), JPEGBaseline8Bit, color, bits=8, photometric="RGB"))
    assert "1 samples a pixel, SamplesPerPixel (0028,0002) says 3" in str(error)
    assert "BitsAllocated (0028,0100) says 8" in str(refused(compressed(jpeg_2000(), JPEG2000, SMALL, bits=8)))
    assert "BitsAllocated (0028,0100)" in str(refused(compressed(jpeg_2000(), JPEG2000, SMALL, bits=8)))


@pytest.mark.parametrize(("rows", "columns"), [(39, 50), (20, 50), (41, 50), (50, 50)])
def test_rle_of_another_size_is_refused(rows, columns):
    image = rle()
    image.Rows, image.Columns = rows, columns
    error = refused(written(image, RLELossless))
    assert error.kind == "damaged"
    assert re.search(r"RLE|Rows \(0028,0010\)", str(error))


def test_rle_of_another_depth_is_refused():
    image = rle()
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    assert "2 RLE segments, BitsAllocated (0028,0100) asks for 1" in str(refused(written(image, RLELossless)))


@pytest.mark.parametrize("values", [SIGNED, SMALL, np.stack([SMALL, SMALL // 2, SMALL // 3], 2)])
def test_rle_is_decoded_at_any_depth(values):
    bits = values.dtype.itemsize * 8
    image = dataset(values, bits=bits, photometric="RGB" if values.ndim == 3 else "MONOCHROME2")
    expected = shown(written(image)).pixels
    image.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_allclose(shown(written(image, RLELossless)).pixels, expected, atol=1e-6)


def test_uncompressed_pixels_beyond_the_stated_size_are_said():
    radiograph = shown(written(dataset(Rows=30)))
    np.testing.assert_allclose(radiograph.pixels, VALUES[:30] / VALUES[:30].max(), atol=1e-6)
    said = "PixelData (7FE0,0010) has 4000 bytes, 50x30 pixels need 3000: the rest is not shown."
    assert radiograph.warnings[0] == said
    for rows in (1, 10, 20):
        error = refused(written(dataset(Rows=rows)))
        assert f"has 4000 bytes, 50x{rows} pixels need {rows * 100}" in str(error)
    assert shown(written(dataset(PixelData=VALUES.tobytes() + b"\0\0"))).warnings == ()


def test_several_frames_in_compressed_pixels_are_several_images_whatever_the_header_says():
    for has_table in (False, True):
        data = compressed([jpeg_2000(), jpeg_2000()], JPEG2000, has_table=has_table)
        assert refused(data).kind == "multi-frame"


def test_one_frame_may_lie_in_several_fragments():
    codestream = jpeg_2000()
    image = dataset()
    half = len(codestream) // 4 * 2
    image.PixelData = encapsulate([codestream[:half], codestream[half:]], has_bot=True)  # an offset for each fragment
    image["PixelData"].is_undefined_length = True
    image["PixelData"].VR = "OB"
    np.testing.assert_allclose(shown(written(image, JPEG2000)).pixels, FULL, atol=0.01)


def test_only_what_lacks_something_is_called_cut_off():
    whole = compressed(jpeg_2000(), JPEG2000)
    for data in (whole[:-20], whole[: whole.index(jpeg_2000()[:20]) + 30]):
        assert "cut off inside its pixel data" in str(refused(data))
    short = refused(written(dataset(Rows=41)))
    assert "PixelData (7FE0,0010) has 4000 bytes, 50x41 pixels need 4100" in str(short)
    assert "cut off before the end of its 50x40 pixels" in str(refused(written(dataset())[:-1]))
    damaged = refused(compressed(b"no codestream" * 9, JPEG2000))
    assert (damaged.kind, "cut off" in str(damaged)) == ("damaged", False)
    header = written(dataset())
    cut = refused(header[: header.index(b"Mustermann") + 5])
    assert (cut.kind, "cut off inside (0010,0010)" in str(cut)) == ("truncated", True)


def test_pixels_that_cannot_be_decoded_name_their_compression():
    error = refused(compressed(b"no codestream" * 9, JPEGExtended12Bit, SMALL, bits=8))
    assert "its pixels (JPEG Extended (Process 2 and 4) (1.2.840.10008.1.2.4.51)) are damaged" in str(error)


def test_one_bit_a_pixel_and_32_bits_are_read():
    bits = np.random.default_rng(3).integers(0, 2, (40, 48), np.uint8)
    image = dataset(bits, bits=1, BitsAllocated=1, HighBit=0, PixelData=np.packbits(bits, bitorder="little").tobytes())
    np.testing.assert_array_equal(shown(written(image)).pixels, bits)
    deep = VALUES.astype(np.uint32) * 2**18
    np.testing.assert_allclose(shown(written(dataset(deep, bits=32))).pixels, FULL, atol=1e-6)
