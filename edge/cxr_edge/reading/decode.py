"""Files, bytes and arrays → radiographs: the one decoder of the project."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import InputError
from cxr_edge.reading.headers import Header, looks_like_dicom, other_format, read_header
from cxr_edge.reading.image_quality import exposure_warnings
from cxr_edge.reading.radiograph import Pixels, Radiograph, Source

MAX_PIXELS = 100_000_000
MAX_BYTES = 2**30


def read_radiograph(source: str | os.PathLike[str] | bytes | NDArray[Any]) -> Radiograph:
    """Read one radiograph as grey values at the depth it was stored in.

    JPEG, PNG, TIFF and BMP go through OpenCV: turned upright as EXIF says, color to grey by luma, 16 bits
    kept. The white level of a 16-bit file is 65535. DICOM goes through :mod:`cxr_edge.reading.dicom`.

    Args:
        source: A file's path, a file's content, or an array: uint8 or uint16, grey [height, width] or
            RGB [height, width, 3].

    Returns:
        The radiograph, its source and its warnings.

    Raises:
        InputError: There is no such file, it is no image, it is cut off, it holds several images or none, it
            is larger than 100 megapixels, or its decoder is not installed; `kind` says which.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, bytes):
        return decode(source)
    path = Path(source)
    try:
        return decode(read_content(path), path)
    except InputError as error:
        raise error.at(path) from error


def read_content(path: Path) -> bytes:
    """Read all of a regular file; anything else would block or never end.

    Raises:
        InputError: There is no such file, it is no regular file, it cannot be read or it is larger than 1 GiB.
    """
    try:
        if not path.is_file():
            if not path.exists():
                raise InputError("no such file; check the path", kind="not-found")
            raise InputError("not a regular file; name an image or a folder of images", kind="not-a-file")
        if path.stat().st_size > MAX_BYTES:
            raise InputError("larger than 1 GiB, which no radiograph is", kind="too-large")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({error}); check its permissions", kind="unreadable") from error


def decode(data: bytes, path: Path | None = None) -> Radiograph:
    """Decode the content of a file, see `read_radiograph`.

    Args:
        data: The whole file.
        path: What the radiograph's source is to name as its file.

    Raises:
        InputError: As for `read_radiograph`.
    """
    if not data:
        raise InputError("the file is empty; fetch it again", kind="empty")
    if looks_like_dicom(data):  # before all others: the DICOM preamble may hold a TIFF header
        from cxr_edge.reading.dicom import read_dicom

        return read_dicom(data, path)
    try:
        header = read_header(data)
    except EOFError as error:
        raise InputError("cut off or damaged in its header; fetch the file again", kind="truncated") from error
    if header is None:
        if other := other_format(data):
            raise InputError(f"a {other} file; save it as PNG, JPEG, TIFF, BMP or DICOM", kind="unsupported")
        raise InputError("neither JPEG, PNG, TIFF, BMP nor DICOM", kind="not-an-image")
    check_size(header.width, header.height, header.frames)
    if not header.complete:
        raise InputError(f"the {header.format} data are cut off or damaged; fetch the file again", kind="truncated")
    pixels = _pixels(data, header)
    steps = []
    if header.white_is_zero:
        steps.append("white-is-zero inverted")
    if header.color:
        steps.append("color to grey")
    if header.orientation != 1:
        steps.append(f"EXIF orientation {header.orientation}")
    source = Source(path, header.format, header.width, header.height, header.bits, tuple(steps))
    return _radiograph(pixels, source)


def check_size(width: int, height: int, frames: int) -> None:
    """Refuse what is no single radiograph before memory is spent on it.

    Raises:
        InputError: No pixels, several images, or more than 100 megapixels.
    """
    if width <= 0 or height <= 0 or frames < 1:
        raise InputError(f"{width}x{height} pixels in {frames} images: nothing to look at", kind="no-pixels")
    if frames > 1:
        raise InputError(f"{frames} images in one file, expected one; split the file", kind="multi-frame")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{width}x{height} pixels, above the limit of {MAX_PIXELS // 10**6} megapixels; reduce the image",
            kind="too-large",
        )


def _pixels(data: bytes, header: Header) -> Pixels:
    if header.bits > 16 or header.sample_format != 1:
        raise InputError(
            f"{header.bits}-bit {header.format} samples; signed, floating-point and deeper ones have no"
            " white level: save the image with 8 or 16 bits",
            kind="unsupported",
        )
    try:
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
        pixels: Pixels | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"the {header.format} data cannot be decoded; save the image again as 8- or 16-bit PNG",
            kind="damaged",
        )
    # OpenCV inverts white-is-zero TIFFs of up to 8 bits, but not deeper ones.
    return cv2.bitwise_not(pixels) if header.white_is_zero and header.bits > 8 else pixels


def _from_array(array: NDArray[Any]) -> Radiograph:
    color = array.ndim == 3 and array.shape[2] == 3
    if array.dtype not in (np.uint8, np.uint16) or not (array.ndim == 2 or color):
        raise InputError(
            f"an array {array.dtype} {list(array.shape)}; expected uint8 or uint16, [height, width] or"
            " [height, width, 3] in RGB order (for other white levels build a cxr_edge.Radiograph)",
            kind="unsupported",
        )
    height, width = array.shape[:2]
    check_size(width, height, 1)
    pixels = cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_RGB2GRAY) if color else array
    steps = ("color to grey",) if color else ()
    return _radiograph(pixels, Source(None, "array", width, height, array.dtype.itemsize * 8, steps))


def _radiograph(pixels: Pixels, source: Source) -> Radiograph:
    maximum = 255.0 if pixels.dtype == np.uint8 else 65535.0
    low, high = cv2.minMaxLoc(pixels)[:2]
    warnings = []
    if low == high:
        warnings.append(f"Every pixel has the value {low:g}: this is no radiograph.")
    elif high <= maximum / 4:
        warnings.append(
            f"The brightest pixel is {high:g} of {maximum:g}: nearly black. A 10-, 12- or 14-bit image stored"
            " in 16 bits must be rescaled to the full range first."
        )
    else:
        warnings.extend(exposure_warnings(pixels, maximum))
    return Radiograph(pixels, maximum, source, tuple(warnings))
