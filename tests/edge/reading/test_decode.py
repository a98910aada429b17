import contextlib
import logging
import struct
import subprocess
import sys
import warnings
import zlib
from io import BytesIO

import cv2
import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
from PIL import Image

from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.picture import MAX_BYTES

H, W = 40, 60
GREY = np.add.outer(np.arange(H) * 2, np.arange(W) * 3).astype(np.uint8)
RGB = np.stack([GREY, GREY // 2, 255 - GREY], axis=2)
# What each EXIF orientation asks for, from the stored to the upright image (EXIF 2.3, tag 274).
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


def encode(suffix, image, *parameters):
    return cv2.imencode(suffix, image, parameters)[1].tobytes()


def luma(rgb):
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def exif(orientation):
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 274, 3, 1, orientation, 0)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, bits, color_type, rows, *extra):
    """Write a PNG with given rows of raw samples (PNG specification, sections 11.2 and 9)."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + data + chunk(b"IEND", b"")


def tiff(image, *, photometric=1, orientation=1, sample_format=1, pages=1, subfile=0):
    """Write an uncompressed grey TIFF (TIFF 6.0, section 4)."""
    bits, pixels = image.dtype.itemsize * 8, image.tobytes()
    tags = {
        254: subfile,
        256: image.shape[1],
        257: image.shape[0],
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        274: orientation,
        277: 1,
        278: image.shape[0],
        279: len(pixels),
        339: sample_format,
    }
    start, size = 8 + len(pixels), 2 + 12 * len(tags) + 4
    out = struct.pack("<2sHI", b"II", 42, start) + pixels
    for page in range(pages):
        following = start + (page + 1) * size if page + 1 < pages else 0
        out += struct.pack("<H", len(tags))
        out += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        out += struct.pack("<I", following)
    return out


def kind_of(source):
    with pytest.raises(InputError) as caught:
        read_radiograph(source)
    return caught.value.kind


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".jpeg"])
def test_grey_8_bit_of_every_format(suffix):
    radiograph = read_radiograph(encode(suffix, GREY, *((cv2.IMWRITE_JPEG_QUALITY, 100) if suffix == ".jpeg" else ())))
    np.testing.assert_allclose(radiograph.pixels.astype(int), GREY, atol=1 if suffix == ".jpeg" else 0)
    assert (radiograph.pixels.dtype, radiograph.maximum) == (np.uint8, 255)
    assert radiograph.source.format == suffix[1:].upper()
    assert (radiograph.source.width, radiograph.source.height) == (W, H)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_keeps_its_depth(suffix):
    deep = (GREY.astype(np.uint16) * 257) ^ 1
    radiograph = read_radiograph(encode(suffix, deep))
    np.testing.assert_array_equal(radiograph.pixels, deep)
    assert (radiograph.maximum, radiograph.source.bits, radiograph.warnings) == (65535, 16, ())


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp"])
def test_color_becomes_luma(suffix):
    radiograph = read_radiograph(encode(suffix, RGB[:, :, ::-1]))
    np.testing.assert_allclose(radiograph.pixels.astype(int), luma(RGB), atol=1)
    assert radiograph.source.steps == ("color to grey",)


def test_16_bit_color_becomes_16_bit_luma():
    deep = RGB.astype(np.uint16) * 257
    radiograph = read_radiograph(encode(".png", deep[:, :, ::-1]))
    assert radiograph.pixels.dtype == np.uint16
    np.testing.assert_allclose(radiograph.pixels.astype(int), luma(deep), atol=8)  # 8 of 65535


def test_alpha_is_left_aside():
    rgba = np.dstack([RGB[:, :, ::-1], GREY])
    np.testing.assert_allclose(read_radiograph(encode(".png", rgba)).pixels.astype(int), luma(RGB), atol=1)


def test_palette_becomes_the_luma_of_its_colors():
    indices = GREY // 16
    palette = RGB[0, :48:3]
    data = png(W, H, 8, 3, [row.tobytes() for row in indices], chunk(b"PLTE", palette.tobytes()))
    np.testing.assert_allclose(read_radiograph(data).pixels.astype(int), luma(palette[indices]), atol=1)


def test_one_bit_png_is_black_and_white():
    bits = GREY > 100
    radiograph = read_radiograph(png(W, H, 1, 0, [np.packbits(row).tobytes() for row in bits]))
    np.testing.assert_array_equal(radiograph.pixels, bits * np.uint8(255))
    assert radiograph.source.bits == 1


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("kind", "depth"),
    [("png", np.uint8), ("png", np.uint16), ("tiff", np.uint8), ("tiff", np.uint16), ("jpeg", np.uint8)],
)
def test_orientation_is_applied_at_any_depth(kind, depth, orientation):
    image = GREY.astype(depth) * (257 if depth == np.uint16 else 1)
    if kind == "png":
        rows = [row.astype(">u2" if depth == np.uint16 else np.uint8).tobytes() for row in image]
        data = png(W, H, image.dtype.itemsize * 8, 0, rows, chunk(b"eXIf", exif(orientation)))
    elif kind == "tiff":
        data = tiff(image, orientation=orientation)
    else:
        plain = encode(".jpeg", image, cv2.IMWRITE_JPEG_QUALITY, 100)
        block = b"Exif\0\0" + exif(orientation)
        data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]
    radiograph = read_radiograph(data)
    np.testing.assert_allclose(
        radiograph.pixels.astype(int), UPRIGHT[orientation](image), atol=1 if kind == "jpeg" else 0
    )
    assert (f"EXIF orientation {orientation}" in radiograph.source.steps) == (orientation != 1)
    assert (radiograph.source.width, radiograph.source.height) == (W, H)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_white_is_zero_is_inverted(depth):
    image = GREY.astype(depth)
    radiograph = read_radiograph(tiff(image, photometric=0))
    np.testing.assert_array_equal(radiograph.pixels, np.iinfo(depth).max - image)


def test_a_12_bit_image_in_16_bits_is_warned_about():
    (warning,) = read_radiograph(encode(".png", GREY.astype(np.uint16) * 16)).warnings
    assert f"{int(GREY.max()) * 16} of 65535" in warning


def test_a_flat_image_is_warned_about():
    (warning,) = read_radiograph(np.full((9, 9), 7, np.uint8)).warnings
    assert "value 7" in warning


def test_arrays_are_taken_as_they_are():
    np.testing.assert_array_equal(read_radiograph(GREY).pixels, GREY)
    np.testing.assert_array_equal(read_radiograph(RGB).pixels, luma(RGB))
    assert read_radiograph(GREY.astype(np.uint16)).maximum == 65535
    for wrong in (GREY.astype(float), GREY[0], np.dstack([RGB, GREY])):
        assert kind_of(wrong) == "unsupported"
    assert kind_of(np.zeros((0, 5), np.uint8)) == "no-pixels"


@pytest.mark.parametrize("fraction", [0.001, 0.02, 0.3, 0.7, 0.95, 0.999])
@pytest.mark.parametrize("suffix", [".jpeg", "progressive.jpeg", ".png", ".tiff", ".bmp"])
def test_truncated_files_are_refused_wherever_they_are_cut(suffix, fraction):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300), np.uint8)
    progressive = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1) if suffix.startswith("p") else ()
    data = encode("." + suffix.split(".")[1], noise, *progressive)
    read_radiograph(data)
    assert kind_of(data[: max(12, int(len(data) * fraction))]) == "truncated"


def test_one_missing_byte_at_the_end_is_noticed(radiographs):
    for name in ("NORMAL2-IM-0588-0001.jpeg", "cr_chest_pa_16bit.png"):
        assert kind_of((radiographs / name).read_bytes()[:-1]) == "truncated"


def test_a_changed_byte_inside_a_png_is_noticed():
    data = bytearray(encode(".png", GREY))
    data[len(data) // 2] ^= 1
    assert kind_of(bytes(data)) == "damaged"


def test_a_preview_inside_a_jpeg_does_not_hide_that_it_is_cut():
    plain, preview = encode(".jpeg", GREY), encode(".jpeg", GREY[:8, :8])
    block = b"\xff\xe2" + struct.pack(">H", len(preview) + 2) + preview
    assert read_radiograph(plain[:2] + block + plain[2:]).pixels.shape == (H, W)
    assert kind_of(plain[:2] + block + plain[2:-2]) == "truncated"


def test_bytes_after_the_end_of_a_jpeg_do_no_harm():
    assert read_radiograph(encode(".jpeg", GREY) + b"\0" * 100).pixels.shape == (H, W)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"patient,label\n1,NORMAL\n" * 20, "not-an-image"),
        (b"\xff\xd8\xff", "truncated"),
        (b"GIF89a" + b"\0" * 100, "unsupported"),
        (b"%PDF-1.7" + b"\0" * 200, "unsupported"),
        (png(200_000, 200_000, 8, 0, []), "too-large"),
        (tiff(GREY, pages=2), "multi-frame"),
        (tiff(GREY.astype(np.float32), sample_format=3), "unsupported"),
        (tiff(GREY.astype(np.int16), sample_format=2), "unsupported"),
        (png(W, H, 8, 0, [], chunk(b"acTL", struct.pack(">II", 2, 0))), "multi-frame"),
        (png(W, H, 8, 0, [b"\0" * W]), "damaged"),
    ],
)
def test_what_is_no_radiograph_gets_its_own_error(data, kind):
    assert kind_of(data) == kind


@pytest.mark.parametrize("suffix", [".jpeg", ".png", ".tiff", ".bmp", ".dcm"])
def test_damage_anywhere_is_either_survived_or_an_input_error(suffix, radiographs):
    data = (radiographs / "nih_dx_chest.dcm").read_bytes() if suffix == ".dcm" else encode(suffix, RGB)
    rng = np.random.default_rng(0)
    # The tags are at the start of a DICOM file and at the end of the TIFF that OpenCV writes.
    places = np.arange(len(data))[-400:] if suffix == ".tiff" else np.arange(min(len(data), 1500))
    for _ in range(60):
        damaged = bytearray(data)
        for position in rng.choice(places, 3):
            damaged[position] = rng.integers(256)
        with contextlib.suppress(InputError):
            read_radiograph(bytes(damaged))


def test_a_thumbnail_is_no_second_page():
    image = tiff(GREY, subfile=1, pages=2)
    first = image.index(struct.pack("<HHII", 254, 4, 1, 1))
    full = image[:first] + struct.pack("<HHII", 254, 4, 1, 0) + image[first + 12 :]
    np.testing.assert_array_equal(read_radiograph(full).pixels, GREY)


def test_a_directory_chain_that_bites_its_tail_ends():
    data = bytearray(tiff(GREY))
    data[-4:] = struct.pack("<I", 8 + GREY.size)
    np.testing.assert_array_equal(read_radiograph(bytes(data)).pixels, GREY)


def test_paths_that_cannot_be_read(tmp_path):
    assert kind_of(tmp_path / "missing.png") == "not-found"
    assert kind_of(tmp_path) == "not-a-file"
    assert kind_of(tmp_path / ("x" * 300)) == "unreadable"
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert kind_of(huge) == "too-large"


def test_the_message_names_the_file(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear colleague, " * 20, encoding="utf-8")
    with pytest.raises(InputError, match=r"letter\.txt: neither JPEG, PNG, TIFF, BMP nor DICOM"):
        read_radiograph(path)


def test_samples_are_read_at_their_own_depth(radiographs):
    depths = {path.name: read_radiograph(path).source.bits for path in sorted(radiographs.glob("*.*g"))}
    assert depths == {
        "NORMAL2-IM-0588-0001.jpeg": 8,
        "cr_chest_pa_16bit.png": 16,
        "person586_bacteria_2417.png": 8,
        "person724_virus_1343.jpeg": 8,
    }


def test_any_exception_of_a_decoder_is_an_error_of_that_input_and_quotes_nothing(monkeypatch, radiographs):
    def fail(*_, **__):
        raise ZeroDivisionError("Mustermann^Erika")

    monkeypatch.setattr("cxr_edge.reading.jpeg.simplejpeg.decode_jpeg", fail)
    path = radiographs / "NORMAL2-IM-0588-0001.jpeg"
    with pytest.raises(InputError) as caught:
        read_radiograph(path)
    assert (caught.value.kind, caught.value.path) == ("internal", path)
    assert "ZeroDivisionError" in caught.value.problem
    assert "Erika" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("bits", [1, 8])
def test_a_bmp_whose_palette_is_grey_is_not_turned_from_color(bits):
    image = Image.fromarray(GREY if bits == 8 else GREY > 100)
    file = BytesIO()
    image.save(file, "BMP")
    radiograph = read_radiograph(file.getvalue())
    np.testing.assert_array_equal(radiograph.pixels, GREY if bits == 8 else (GREY > 100) * np.uint8(255))
    assert (radiograph.source.steps, radiograph.source.bits) == ((), bits)


def test_a_bmp_header_of_garbage_is_damage(capfd):
    assert kind_of(b"BM" + b"\1" * 200) == "damaged"
    huge = bytearray(encode(".bmp", GREY))
    huge[18:26] = b"\xff\xff\xff\x7f" * 2
    assert kind_of(bytes(huge)) == "too-large"
    short = bytearray(encode(".bmp", GREY))
    short[46:50] = b"\xb6\x0e\0\0"  # colors that its palette does not have
    with contextlib.suppress(InputError):
        read_radiograph(bytes(short))
    assert capfd.readouterr() == ("", "")


def test_nobody_elses_state_is_touched(radiographs):
    def state():
        return (
            cv2.getNumThreads(),
            PIL.Image.MAX_IMAGE_PIXELS,
            PIL.ImageFile.LOAD_TRUNCATED_IMAGES,
            list(warnings.filters),
            sys.stderr,
            logging.getLogger("pydicom").disabled,
            logging.getLogger("PIL").disabled,
        )

    before = state()
    files = [path.read_bytes() for path in sorted(radiographs.iterdir())]
    for data in (*files, tiff(GREY), encode(".bmp", RGB), *(data[:-500] for data in files), tiff(GREY)[:-9]):
        with contextlib.suppress(InputError):
            read_radiograph(data)
    assert state() == before


def test_a_plain_jpeg_and_a_png_are_read_without_pillow(radiographs):
    """Its import costs more than a prediction has to spare."""
    files = [str(radiographs / name) for name in ("NORMAL2-IM-0588-0001.jpeg", "cr_chest_pa_16bit.png")]
    program = (
        "import sys; from cxr_edge.reading.decode import read_radiograph\n"
        f"for file in {files!r}: read_radiograph(file)\n"
        "sys.exit('PIL' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
