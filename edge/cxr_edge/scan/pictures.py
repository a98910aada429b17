"""The pictures that the report shows beside a record."""

from pathlib import Path

import cv2

from cxr_edge.errors import OutputError
from cxr_edge.explanation import rendering
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.explanation.figures import draw
from cxr_edge.explanation.rendering import Picture
from cxr_edge.files import write_atomically
from cxr_edge.reading.radiograph import Radiograph

FOLDER = "assets"
THUMBNAIL, HEAT_MAP, FIGURE = "thumbnail.jpg", "gradcam.jpg", "figure.png"
_SIDE = 256
_QUALITY = 85


def folder_of(sha256: str) -> Path:
    """Give the folder of a content's pictures, relative to the output folder."""
    return Path(FOLDER, sha256[:2], sha256)


def write_pictures(out: Path, sha256: str, radiograph: Radiograph, explanation: Explanation | None) -> dict[str, str]:
    """Write the thumbnail and, of an explanation, the heat map at the same size and the figure.

    Args:
        out: The output folder.
        sha256: The content's hash, which names the pictures' folder.
        radiograph: What to show.
        explanation: Its explanation, if there is one.

    Returns:
        Path relative to ``out`` in POSIX form by file name, as far as written.

    Raises:
        OutputError: They cannot be written.
    """
    small, _ = rendering.grey_picture(radiograph, smallest=1, largest=_SIDE)
    pictures = {THUMBNAIL: _jpeg(small[:, :, 0])}
    if explanation is not None:
        if explanation.saliency is not None:
            pictures[HEAT_MAP] = _jpeg(rendering.heat(small, explanation.saliency.upsample(*small.shape[:2])))
        pictures[FIGURE] = rendering.to_png(next(draw(explanation))[1])
    folder = folder_of(sha256)
    try:
        (out / folder).mkdir(parents=True, exist_ok=True)
        for name, data in pictures.items():
            write_atomically(out / folder / name, data)
    except OSError as error:
        raise OutputError(
            f"{out / folder}: pictures cannot be written ({error.strerror}); make room and start the same scan again"
        ) from error
    return {name: (folder / name).as_posix() for name in pictures}


def _jpeg(picture: Picture) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])
