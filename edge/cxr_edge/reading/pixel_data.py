"""Pixel Data (7FE0,0010) → stored values: as they stand, or by the decoder of their transfer syntax."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit

from cxr_edge.errors import InputError
from cxr_edge.reading.codecs import STRICT_PLUGINS, check_frame, decode_rle
from cxr_edge.reading.data_set import DataSet, Element, fragments, name
from cxr_edge.reading.image_header import ImageHeader, contradiction
from cxr_edge.reading.picture import check_size
from cxr_edge.reading.transfer_syntax import (
    BEGINNINGS,
    Codestream,
    contradicted,
    find_syntax,
    read_codestream,
    syntax_name,
)

_INSTALL = 'pip install "cxr-edge[dicom]"'


@dataclass(frozen=True, eq=False)
class StoredPixels:
    """The pixels of one frame.

    Attributes:
        pixels: Stored values as PS3.5 section 8.1.1 defines them, uint8 to uint32 or int8 to int32: [height, width], or
            [height, width, 3] in RGB order.
        warnings: What did not fit together, one sentence each.
    """

    pixels: NDArray[Any]
    warnings: tuple[str, ...] = ()


def stored_pixels(dataset: DataSet, header: ImageHeader) -> StoredPixels:
    """Decode the pixels of a single-frame image.

    Args:
        dataset: The file; its Pixel Data is read.
        header: How to read it.

    Raises:
        InputError: There are no pixels, some of them are missing, they contradict the header or the transfer syntax,
            they are damaged, or there is no decoder for them.
    """
    element = find_pixel_data(dataset)
    if not (element.undefined or _begins_as_encapsulated(element, header)):
        return _native(dataset.syntax, element, header)
    parts = fragments(element)
    if not element.complete:
        raise InputError("cut off inside its pixel data (7FE0,0010)", kind="truncated", cure="fetch the file again")
    data = b"".join(parts[1:])
    codestream = read_codestream(data)
    check_size(header.columns, header.rows, _frames(parts[1:], codestream))
    syntax = find_syntax(dataset.syntax, codestream)
    if codestream is None:
        raise _damaged(syntax)
    _compare(codestream, header)
    warnings = []
    if syntax != dataset.syntax:
        stated = syntax_name(dataset.syntax) or "missing"
        warnings.append(f"{name('TransferSyntaxUID')} is {stated}: the pixels begin as {codestream.family}.")
    if codestream.bits is not None and codestream.bits < header.stored:
        warnings.append(f"The compressed image has {codestream.bits} bits, {name('BitsStored')} says {header.stored}.")
    checked = check_frame(data, codestream.family)
    warnings += checked.warnings
    if checked.pixels is None:
        pixels = decode_frame(data, syntax, codestream, header)
    else:
        pixels = checked.pixels.view(np.int8) if header.signed else checked.pixels
    return StoredPixels(_of_bits(pixels, header, codestream.bits or header.allocated), tuple(warnings))


def decode_frame(data: bytes, syntax: UID, codestream: Codestream, header: ImageHeader) -> NDArray[Any]:
    """Decode one compressed frame.

    Args:
        data: The frame as it lies in the file, fragments joined.
        syntax: Its transfer syntax.
        codestream: What the frame says about itself; its size is that of the header.
        header: What the file says about it.

    Returns:
        [height, width], or [height, width, 3] in RGB order; signed where the header says so. The values are as deep
        as the codestream says, which may be more than Bits Stored.

    Raises:
        InputError: The frame is damaged, or no decoder for it is installed.
    """
    if codestream.family == "RLE":
        return decode_rle(data, header)
    decoder = get_decoder(syntax)
    plugin = STRICT_PLUGINS.get(codestream.family, "")
    if not decoder.is_available or plugin not in ("", *decoder.available_plugins):
        raise InputError(
            f"no decoder for {syntax_name(syntax)}", kind="missing-decoder", cure=f"install one: {_INSTALL}"
        )
    bits = codestream.bits or header.stored
    try:
        # The options state what the frame itself says, so that pydicom finds nothing to warn about.
        pixels, _ = decoder.as_array(
            encapsulate([data], has_bot=False),
            validate=False,
            decoding_plugin=plugin,
            rows=header.rows,
            columns=header.columns,
            number_of_frames=1,
            samples_per_pixel=header.samples,
            planar_configuration=0,
            photometric_interpretation=_color_space(codestream, header, syntax),
            bits_allocated=8 if bits <= 8 else 16 if bits <= 16 else 32,
            bits_stored=bits,
            pixel_representation=int(header.signed),
        )
    except Exception:  # noqa: BLE001  # every decoder has its own
        raise _damaged(syntax) from None
    return pixels


def find_pixel_data(dataset: DataSet) -> Element:
    """Find the integer pixels of a file.

    Raises:
        InputError: It has none, the file ends before them, or they are floating-point numbers.
    """
    for keyword in ("FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset:
            raise InputError(f"floating-point pixels, {name(keyword)}, have no grey scale here", kind="unsupported")
    element = dataset.get("PixelData")
    if element is not None and (element.value or not element.complete):
        return element
    if dataset.cut is not None:
        tag = f"({dataset.cut >> 16:04X},{dataset.cut & 0xFFFF:04X})"
        raise InputError(f"cut off inside {tag}", kind="truncated", cure="fetch the file again")
    raise InputError("a DICOM file without pixel data (7FE0,0010); expected an image", kind="no-pixels")


def _begins_as_encapsulated(element: Element, header: ImageHeader) -> bool:
    """Say whether pixel data of a stated length are items; some writers state the length of encapsulated pixels."""
    parts = fragments(element)
    size = sum(8 + len(part) for part in parts)
    return bool(parts) and size + 8 >= len(element.value) != _size(header) and element.complete


def _frames(parts: list[memoryview], codestream: Codestream | None) -> int:
    """Count the frames of encapsulated pixels, whatever the header says (PS3.5 section A.4)."""
    if codestream is not None and codestream.family == "RLE":  # a frame is one fragment
        return len(parts)
    return max(1, sum(bytes(part[:8]).startswith(BEGINNINGS) for part in parts))


def _compare(codestream: Codestream, header: ImageHeader) -> None:
    """Refuse a frame that contradicts the header, before anything of its size is allocated."""
    if codestream.family == "RLE":
        found, expected = codestream.components, header.samples * header.allocated // 8
        if found != expected:
            raise contradiction(f"{found} RLE segments", f"{name('BitsAllocated')} asks for {expected}")
        return
    if (codestream.width, codestream.height) != (header.columns, header.rows):
        raise contradiction(
            f"{codestream.width}x{codestream.height} pixels",
            f"{name('Columns')} and {name('Rows')} say {header.columns}x{header.rows}",
        )
    if codestream.components != header.samples:
        raise contradiction(
            f"{codestream.components} samples a pixel", f"{name('SamplesPerPixel')} says {header.samples}"
        )
    if codestream.bits is None or codestream.bits > header.allocated:
        raise contradiction(f"{codestream.bits} bits", f"{name('BitsAllocated')} says {header.allocated}")


def _damaged(syntax: UID) -> InputError:
    problem = f"its pixels ({syntax_name(syntax)}) are damaged: they cannot be decoded"
    return InputError(problem, kind="damaged", cure="export the image again uncompressed")


def _size(header: ImageHeader) -> int:
    """Give the bytes of an uncompressed frame; of two chroma samples a pair, YBR_FULL_422 keeps one."""
    size = (header.rows * header.columns * header.samples * header.allocated + 7) // 8
    return size // 3 * 2 if header.photometric == "YBR_FULL_422" else size


def _native(stated: str, element: Element, header: ImageHeader) -> StoredPixels:
    if stated and UID(stated).is_encapsulated:
        raise contradicted(stated, "not compressed")
    size, pixels = _size(header), f"{header.columns}x{header.rows} pixels"
    found = f"{name('PixelData')} has {len(element.value)} bytes, {pixels} need {size}"
    if len(element.value) < size:
        problem = found if element.complete else f"cut off before the end of its {pixels}"
        raise InputError(problem, kind="truncated", cure="fetch the file again")
    if len(element.value) >= 2 * size:
        raise InputError(found, kind="damaged", cure="export the image again")
    # Some writers fill pixels up to whole words, but not by a row.
    beyond = len(element.value) - size >= max(4, size // header.rows)
    warnings = (f"{found}: the rest is not shown.",) if beyond else ()
    return StoredPixels(_of_bits(_uncompressed(element, header, size), header, header.allocated), warnings)


def _uncompressed(element: Element, header: ImageHeader, size: int) -> NDArray[Any]:
    if header.samples == 1 and header.allocated > 1 and (element.little or header.allocated > 8):
        kind = f"{'<' if element.little else '>'}{'i' if header.signed else 'u'}{header.allocated // 8}"
        return np.frombuffer(element.value[:size], kind).reshape(header.rows, header.columns)
    decoder = get_decoder(ExplicitVRLittleEndian if element.little else ExplicitVRBigEndian)
    pixels, _ = decoder.as_array(
        element.value[: size + size % 2],
        validate=False,
        correct_unused_bits=False,
        rows=header.rows,
        columns=header.columns,
        number_of_frames=1,
        samples_per_pixel=header.samples,
        planar_configuration=header.planar,
        photometric_interpretation=header.photometric,
        bits_allocated=header.allocated,
        bits_stored=header.stored,
        pixel_representation=int(header.signed),
        pixel_keyword="PixelData",
        pixel_vr=element.vr,
    )
    return pixels


def _of_bits(pixels: NDArray[Any], header: ImageHeader, bits: int) -> NDArray[Any]:
    """Take the stored bits out of the words around them, and extend their sign (PS3.5 section 8.1.1)."""
    if header.allocated == 1 or bits <= header.stored or header.photometric.startswith("YBR"):
        return pixels
    width = pixels.dtype.itemsize * 8
    if header.high_bit >= width:  # the codestream is less deep than the word that the header describes
        return pixels
    if header.signed:
        return np.right_shift(np.left_shift(pixels, width - 1 - header.high_bit), width - header.stored)
    below = header.high_bit + 1 - header.stored
    return (np.right_shift(pixels, below) if below else pixels) & pixels.dtype.type(2**header.stored - 1)


def _color_space(codestream: Codestream, header: ImageHeader, syntax: UID) -> str:
    """Name the color space that a frame was written in; JPEG's own markers count more than the header."""
    if header.samples == 3 and codestream.names_rgb:
        return "RGB"
    if header.samples == 3 and codestream.jfif and "YBR" not in header.photometric:
        return "YBR_FULL_422" if syntax == JPEGBaseline8Bit else "YBR_FULL"
    return header.photometric
