"""One compressed frame of a DICOM file → checked, and decoded where a stricter decoder than pydicom's is at hand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import InputError
from cxr_edge.reading.jpeg import JPEG_LS, decode_strictly, read_jpeg_header
from cxr_edge.reading.jpeg2000 import check_jpeg2000, read_jpeg2000_header
from cxr_edge.reading.rle import decode_rle


@dataclass(frozen=True)
class FrameShape:
    """What a DICOM header says about one frame.

    Attributes:
        rows: Rows (0028,0010).
        columns: Columns (0028,0011).
        samples: SamplesPerPixel (0028,0002).
        bits_allocated: BitsAllocated (0028,0100).
        bits_stored: BitsStored (0028,0101).
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int


@dataclass(frozen=True, eq=False)
class CheckedFrame:
    """A frame in which no damage was found.

    Attributes:
        compression: What its codestream is called, such as ``JPEG-LS`` or ``lossless 12-bit JPEG``.
        pixels: uint8, uint16 or uint32 [rows, columns] where it was decoded on the way; None where pydicom is to do so.
        warnings: What leaves its pixels in doubt, one sentence each.
    """

    compression: str
    pixels: NDArray[np.generic] | None = None
    warnings: tuple[str, ...] = ()


def compression_of(frame: bytes) -> str | None:
    """Name the codestream that a frame begins with, whatever the transfer syntax says.

    Returns:
        ``JPEG``, ``JPEG-LS``, ``JPEG 2000``, or None for what has no magic number: RLE and uncompressed pixels.
    """
    if frame.startswith(b"\xff\xd8\xff"):
        return "JPEG-LS" if frame[3:4] == b"\xf7" else "JPEG"
    if frame.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP")):
        return "JPEG 2000"
    return None


def check_frame(frame: bytes, shape: FrameShape) -> CheckedFrame:
    """Compare a codestream with the header before anything of its size is allocated, and look for damage.

    Args:
        frame: The frame's fragments, joined; by its content JPEG, JPEG-LS or JPEG 2000, else taken for RLE.
        shape: What the header says.

    Returns:
        The frame. Grey RLE and grey 8-bit JPEG come decoded. JPEG-LS is not looked into: CharLS, pydicom's plugin
        ``pyjpegls``, notices damage, the decoder of pylibjpeg does not.

    Raises:
        InputError: The codestream contradicts the header (``damaged``), is damaged or cut off.
    """
    compression = compression_of(frame)
    if compression is None:
        planes = decode_rle(
            frame,
            rows=shape.rows,
            columns=shape.columns,
            samples=shape.samples,
            bits_allocated=shape.bits_allocated,
        )
        if shape.samples > 1:
            return CheckedFrame("RLE")
        joined = np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view(f">u{len(planes)}")[:, :, 0]
        return CheckedFrame("RLE", joined.astype(joined.dtype.newbyteorder("=")))
    if compression == "JPEG 2000":
        stream = read_jpeg2000_header(frame)
        _compare(compression, stream.width, stream.height, stream.components, shape)
        check_jpeg2000(frame, stream)
        return CheckedFrame(compression)
    header = read_jpeg_header(frame)
    _compare(header.name, header.width, header.height, len(header.components), shape)
    if header.process == JPEG_LS:
        return CheckedFrame(header.name)
    # Entropy codes do not depend on the depth of the samples, and this decoder knows 8 bits: the pixels of a deeper
    # frame are wrong then, and its damage is found all the same.
    shallow = frame[: header.precision_at] + b"\x08" + frame[header.precision_at + 1 :]
    pixels, warnings = decode_strictly(shallow, header)
    decoded = header.bits == 8 and not header.lossless and len(header.components) == 1
    return CheckedFrame(header.name, pixels if decoded else None, warnings)


def _compare(name: str, width: int, height: int, components: int, shape: FrameShape) -> None:
    if (width, height, components) != (shape.columns, shape.rows, shape.samples):
        raise InputError(
            f"its {name} codestream holds {width}x{height} pixels of {components} samples, its header says"
            f" {shape.columns}x{shape.rows} of {shape.samples} (0028,0011), (0028,0010), (0028,0002)",
            cure="export the image again",
            kind="damaged",
        )
