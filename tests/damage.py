"""Compressed radiographs with holes in them, made for tests and benchmarks."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
# The lengths of Huffman codes as in T.81 table K.3, with codes for as many categories as 16 bits have.
_LENGTHS = (0, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0)


@dataclass(frozen=True)
class Compressed:
    """A file with compressed pixels.

    Attributes:
        kind: Which compression.
        data: The file.
        start: Where its compressed pixels begin.
        end: Where they end; the end marker, if there is one, lies behind.
    """

    kind: str
    data: bytes
    start: int
    end: int

    def with_hole(self, random: np.random.Generator, *, fill: int = 0) -> bytes:
        """Give the file with 64 bytes to half of its compressed pixels overwritten, somewhere in them."""
        size = int(np.exp(random.uniform(np.log(64), np.log((self.end - self.start) / 2))))
        at = int(random.integers(self.start, self.end - size))
        return self.data[:at] + bytes([fill]) * size + self.data[at + size :]


def compressed(pixels: Pixels, only: str | None = None) -> Iterator[Compressed]:
    """Compress a radiograph in every way that is read: 8-bit ones as files and as DICOM, 12-bit ones as DICOM.

    Args:
        pixels: uint8, or uint16 with values below 4096, [height, width].
        only: One kind of those.
    """
    bits = 8 if pixels.dtype == np.uint8 else 12
    if bits == 8 and only is None:
        for kind, *options in (
            ("JPEG",),
            ("JPEG progressive", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
            ("JPEG optimised", cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        ):
            data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()
            yield Compressed(kind, data, _scan(data), len(data) - 2)
        data = cv2.imencode(".png", pixels)[1].tobytes()
        yield Compressed("PNG", data, data.index(b"IDAT") + 4, len(data) - 16)
    for kind, syntax, encode in _FRAMES:
        if only in {None, kind} and (bits == 8 or syntax != JPEGBaseline8Bit):
            frame = encode(pixels, bits)
            start = {"JPEG 2000": b"\xff\x93", "DICOM JPE": b"\xff\xda"}.get(kind[:9])
            yield _dicom(kind, syntax, frame, frame.index(start) + 14 if start else 64, pixels, bits)


def uncompressed_dicom(pixels: Pixels) -> bytes:
    """Write a radiograph of 8 or 12 bits as DICOM without compression."""
    image = _image(pixels, 8 if pixels.dtype == np.uint8 else 12)
    image.PixelData = pixels.tobytes()
    return _written(image, ExplicitVRLittleEndian)


def lossless_jpeg(pixels: Pixels, bits: int) -> bytes:
    """Encode as lossless JPEG, each pixel predicted by the one to its left (T.81 annex H, selection value 1)."""
    values = pixels.astype(np.int64)
    predicted = np.empty_like(values)
    predicted[:, 1:], predicted[1:, 0], predicted[0, 0] = values[:, :-1], values[:-1, 0], 1 << (bits - 1)
    codes, code = [], 0
    for length, count in enumerate(_LENGTHS, 1):
        for _ in range(count):
            codes.append(f"{code:0{length}b}")
            code += 1
        code <<= 1
    stream = []
    for difference in (values - predicted).ravel().tolist():
        category = abs(difference).bit_length()
        extra = difference if difference >= 0 else difference + (1 << category) - 1
        stream.append(codes[category] + (f"{extra:0{category}b}" if category else ""))
    text = "".join(stream)
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    height, width = pixels.shape
    table = bytes([0, *_LENGTHS, *range(len(codes))])
    return b"".join(
        (
            b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB3B", 11, bits, height, width, 1, 1, 0x11, 0),
            b"\xff\xc4" + struct.pack(">H", 2 + len(table)) + table,
            b"\xff\xda" + struct.pack(">H6B", 8, 1, 1, 0, 1, 0, 0) + data + b"\xff\xd9",
        )
    )


def rle(pixels: Pixels, _: int = 8) -> bytes:
    """Encode as DICOM RLE (PS3.5 annex G), each row for itself."""
    planes = pixels.astype(f">u{pixels.itemsize}").view(np.uint8).reshape(*pixels.shape, pixels.itemsize)
    segments = [b"".join(map(_packed, np.moveaxis(planes, -1, 0)[index])) for index in range(pixels.itemsize)]
    segments = [segment + bytes(len(segment) % 2) for segment in segments]
    offsets = np.cumsum([64, *map(len, segments)])[:-1].tolist()
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(offsets))) + b"".join(segments)


def _packed(row: NDArray[np.uint8]) -> bytes:
    packed, position = bytearray(), 0
    values = row.tolist()
    while position < len(values):
        run = 1
        while position + run < len(values) and run < 128 and values[position + run] == values[position]:
            run += 1
        if run > 2:
            packed += bytes([257 - run, values[position]])
            position += run
            continue
        end = position + 1
        while end < len(values) and end - position < 128 and values[end : end + 3] != [values[end]] * 3:
            end += 1
        packed += bytes([end - position - 1, *values[position:end]])
        position = end
    return bytes(packed)


def _scan(data: bytes) -> int:
    return data.index(b"\xff\xda") + 14


def _jpeg(pixels: Pixels, _: int) -> bytes:
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def _jpeg_ls(pixels: Pixels, _: int) -> bytes:
    from jpeg_ls import encode

    return bytes(encode(pixels))


def _jpeg_2000(*ratios: float) -> Callable[[Pixels, int], bytes]:
    def encode(pixels: Pixels, bits: int) -> bytes:
        from openjpeg.utils import encode_array

        options = {"compression_ratios": list(ratios)} if ratios else {}
        return bytes(encode_array(pixels, bits_stored=bits, photometric_interpretation=2, **options))

    return encode


_FRAMES: tuple[tuple[str, UID, Callable[[Pixels, int], bytes]], ...] = (
    ("DICOM JPEG", JPEGBaseline8Bit, _jpeg),
    ("DICOM JPEG lossless", JPEGLosslessSV1, lossless_jpeg),
    ("DICOM JPEG-LS", JPEGLSLossless, _jpeg_ls),
    ("JPEG 2000 lossless", JPEG2000Lossless, _jpeg_2000()),
    ("JPEG 2000", JPEG2000, _jpeg_2000(20, 10)),
    ("RLE", RLELossless, rle),
)


def _dicom(kind: str, syntax: UID, frame: bytes, start: int, pixels: Pixels, bits: int) -> Compressed:
    image = _image(pixels, bits)
    image.PixelData = encapsulate([frame], has_bot=False)
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    data = _written(image, syntax)
    at = data.index(frame)
    return Compressed(kind, data, at + start, at + len(frame) - 2)


def _image(pixels: Pixels, bits: int) -> Dataset:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID, image.Modality = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.4", "DX"
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = pixels.itemsize * 8, bits, bits - 1
    return image


def _written(image: Dataset, syntax: UID) -> bytes:
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = image.SOPClassUID, "1.2.3.4"
    file = BytesIO()
    dcmwrite(file, image, enforce_file_format=True)
    return file.getvalue()
