"""Where the pictures of a scan lie: below the output folder, in a folder for each content."""

from pathlib import Path

ASSETS = "assets"
THUMBNAIL, HEAT_MAP, FIGURE = "thumbnail.jpg", "gradcam.jpg", "figure.png"
PICTURES = (THUMBNAIL, HEAT_MAP, FIGURE)


def assets_of(sha256: str) -> Path:
    """Give the folder of a content's pictures, relative to the output folder.

    Args:
        sha256: The hash of the content, 64 hexadecimal digits.
    """
    return Path(ASSETS, sha256[:2], sha256)
