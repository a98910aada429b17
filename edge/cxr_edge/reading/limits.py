"""What no radiograph exceeds, checked before memory is spent on it."""

from cxr_edge.errors import InputError

MAX_PIXELS = 100_000_000
MAX_BYTES = 2**30


def check_size(width: int, height: int, frames: int) -> None:
    """Refuse what is no single radiograph.

    Args:
        width: Columns.
        height: Rows.
        frames: Images in the file.

    Raises:
        InputError: No pixels, several images, or more than 100 megapixels.
    """
    if width <= 0 or height <= 0 or frames < 1:
        raise InputError(f"{width}x{height} pixels in {frames} images: nothing to look at", kind="no-pixels")
    if frames > 1:
        raise InputError(f"{frames} images in one file, expected one", cure="split the file", kind="multi-frame")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{width}x{height} pixels, above the limit of {MAX_PIXELS // 10**6} megapixels",
            cure="reduce the image",
            kind="too-large",
        )
