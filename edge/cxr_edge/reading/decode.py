"""Files, bytes and arrays → radiographs: the one decoder of the project."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import InputError
from cxr_edge.reading.picture import AGAIN, MAX_BYTES, Format, Picture, check_size, format_of
from cxr_edge.reading.radiograph import Pixels, Radiograph, Source, exposure_warnings


def read_radiograph(source: str | os.PathLike[str] | bytes | NDArray[Any]) -> Radiograph:
    """Read one radiograph as grey values at the depth it was stored in.

    JPEG, PNG, TIFF and BMP are turned upright as EXIF says, color becomes grey by luma, 16 bits are kept. The white
    level of a 16-bit file is 65535. DICOM goes through :mod:`cxr_edge.reading.dicom`.

    Args:
        source: A file's path, a file's content, or an array: uint8 or uint16, grey [height, width] or
            RGB [height, width, 3].

    Returns:
        The radiograph, its source and its warnings.

    Raises:
        InputError: There is no such file, it is no image, it is cut off or damaged, it holds several images or none,
            it is larger than 100 megapixels, or its decoder is not installed; `kind` says which.
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
                raise InputError("no such file", cure="check the path", kind="not-found")
            raise InputError("not a regular file", cure="name an image or a folder of images", kind="not-a-file")
        if path.stat().st_size > MAX_BYTES:
            raise InputError("larger than 1 GiB, which no radiograph is", kind="too-large")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({error})", cure="check its permissions", kind="unreadable") from error


def decode(data: bytes, path: Path | None = None) -> Radiograph:
    """Decode the content of a file, see `read_radiograph`.

    Args:
        data: The whole file.
        path: What the radiograph's source is to name as its file.

    Raises:
        InputError: As for `read_radiograph`; and for any exception of a decoder, of which only the type is quoted,
            because its text may hold what identifies somebody.
    """
    try:
        return _decode(data, path)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # see above
        problem = f"decoding failed inside ({type(error).__name__})"
        raise InputError(problem, cure="save it as PNG, and please report this", kind="internal") from None


def _decode(data: bytes, path: Path | None) -> Radiograph:
    if not data:
        raise InputError("the file is empty", cure=AGAIN, kind="empty")
    kind = format_of(data)
    if kind is Format.DICOM:
        from cxr_edge.reading.dicom import read_dicom

        return read_dicom(data, path)
    picture = _picture(data, kind)
    source = Source(path, picture.format, picture.width, picture.height, picture.bits, picture.steps)
    return _radiograph(picture.pixels, picture.maximum, source, picture.warnings)


def _picture(data: bytes, kind: Format | None) -> Picture:
    """Read a picture file with what its format needs and nothing else."""
    if kind is Format.JPEG:
        from cxr_edge.reading.jpeg import read_jpeg

        return read_jpeg(data)
    if kind is Format.PNG:
        from cxr_edge.reading.png import read_png

        return read_png(data)
    if kind is Format.TIFF:
        from cxr_edge.reading.tiff_bmp import read_tiff

        return read_tiff(data)
    if kind is Format.BMP:
        from cxr_edge.reading.tiff_bmp import read_bmp

        return read_bmp(data)
    expected = "JPEG, PNG, TIFF, BMP or DICOM"
    if kind is not None:
        raise InputError(f"a {kind.value} file", cure=f"save it as {expected}", kind="unsupported")
    raise InputError("neither JPEG, PNG, TIFF, BMP nor DICOM", kind="not-an-image")


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
    maximum = float(np.iinfo(array.dtype).max)
    return _radiograph(pixels, maximum, Source(None, "array", width, height, array.dtype.itemsize * 8, steps))


def _radiograph(pixels: Pixels, maximum: float, source: Source, warnings: tuple[str, ...] = ()) -> Radiograph:
    low, high = cv2.minMaxLoc(pixels)[:2]
    found = list(warnings)
    if low == high:
        found.append(f"Every pixel has the value {low:g}: this is no radiograph.")
    elif high <= maximum / 4:
        found.append(
            f"The brightest pixel is {high:g} of {maximum:g}: nearly black. A 10-, 12- or 14-bit image stored"
            " in 16 bits must be rescaled to the full range first."
        )
    else:
        found.extend(exposure_warnings(pixels, maximum))
    return Radiograph(pixels, maximum, source, tuple(found))
