"""BMP, read by Pillow (see `cxr_edge.reading.tiff` for when it is imported)."""

import struct
from io import BytesIO

import cv2
import numpy as np
from PIL.BmpImagePlugin import BmpImageFile

from cxr_edge.errors import InputError
from cxr_edge.reading.formats import check_size
from cxr_edge.reading.picture import SAVE, Picture, damaged, steps_of, truncated


def read_bmp(data: bytes) -> Picture:
    """Read a BMP file; one whose palette is grey is grey.

    Args:
        data: The whole file.

    Raises:
        InputError: It is cut off, damaged, too large or of a kind that is not read.
    """
    try:
        image = BmpImageFile(BytesIO(data))
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        if len(data) < 54:
            raise truncated("BMP") from error
        raise InputError("a BMP header that is damaged or not supported", cure=SAVE, kind="damaged") from error
    width, height = image.size
    check_size(width, height, 1)
    try:
        image.load()
    except OSError as error:
        raise truncated("BMP") from error
    except ValueError as error:
        raise damaged("BMP", "its palette") from error
    color = image.mode not in {"1", "L"}
    if color:
        pixels = cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2GRAY)
    else:
        pixels = np.asarray(image.convert("L"))
    if pixels.shape != (height, width):
        raise damaged("BMP", "its size")

    bits = 1 if image.mode == "1" else 8
    return Picture(pixels, 255.0, "BMP", width, height, bits, steps_of(color=color, orientation=1))
