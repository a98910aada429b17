"""The pictures that the report shows beside a record."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import UNSET

from cxr_edge.errors import OutputError
from cxr_edge.explanation import rendering
from cxr_edge.explanation.explainer import Explanation
from cxr_edge.explanation.figures import draw
from cxr_edge.explanation.gradcam import SaliencyMap
from cxr_edge.files import write_atomically
from cxr_edge.reading.radiograph import Radiograph
from cxr_edge.results.output import FIGURE, HEAT_MAP, THUMBNAIL, assets_of, file_mode, make_folder_below
from cxr_edge.results.schema import Answered, Failed, Record

_SIDE = 256


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
    pictures = _small(radiograph, explanation.saliency if explanation is not None else None)
    if explanation is not None:
        pictures[FIGURE] = rendering.to_png(next(draw(explanation))[1])
    return _write(out, sha256, pictures)


def lacks_pictures(out: Path, sha256: str) -> bool:
    """Say whether a content has no thumbnail."""
    return not (out / assets_of(sha256) / THUMBNAIL).exists()


def write_known_pictures(out: Path, record: Record, radiograph: Radiograph) -> None:
    """Write what can be drawn from a record: the thumbnail and, where there is a Grad-CAM, the heat map.

    Args:
        out: The output folder.
        record: What was answered.
        radiograph: What to show.

    Raises:
        OutputError: They cannot be written.
    """
    if isinstance(record, Failed) or not record.sha256:
        return
    saliency = None
    if isinstance(record, Answered) and record.explanation is not UNSET and record.explanation.saliency is not UNSET:
        said = record.explanation.saliency
        saliency = SaliencyMap(np.array(said.raw, np.float32), said.method, said.target)
    _write(out, record.sha256, _small(radiograph, saliency))


def _small(radiograph: Radiograph, saliency: SaliencyMap | None) -> dict[str, bytes]:
    small, _ = rendering.grey_picture(radiograph, smallest=1, largest=_SIDE)
    pictures = {THUMBNAIL: rendering.to_jpeg(small[:, :, 0])}
    if saliency is not None:
        pictures[HEAT_MAP] = rendering.to_jpeg(rendering.heat(small, saliency.upsample(*small.shape[:2])))
    return pictures


def _write(out: Path, sha256: str, pictures: Mapping[str, bytes]) -> dict[str, str]:
    below = assets_of(sha256)
    try:
        folder = make_folder_below(out, below)
        mode = file_mode(folder)
        for name, data in pictures.items():
            write_atomically(folder / name, data, mode=mode)
    except OSError as error:
        problem = f"pictures cannot be written ({error.strerror})"
        raise OutputError(problem, cure="make room and start the same scan again", path=out / below) from error
    return {name: (below / name).as_posix() for name in pictures}
