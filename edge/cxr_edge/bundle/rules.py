"""What has to hold in a manifest that types cannot say: values that are finite, in range, printable and of one mind."""

import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxr_edge.bundle.manifest import Manifest

_LARGEST = 2**30  # bytes that a bundle may have: its files are read into memory
_SIDE = 2048  # pixels: the largest input, 16 MB of numbers
_SCORE = 1e6  # the largest threshold of a gate: a distance in standard deviations
_WORD = 200  # characters


def rules_of(manifest: "Manifest") -> Iterator[tuple[str, bool]]:
    """Say what has to hold, and whether it does; not a number passes no comparison."""
    points, spec, map_, scope = manifest.operating_points, manifest.input, manifest.features, manifest.scope
    yield (
        f"names and labels must be printable, of 1 to {_WORD} characters",
        all(each.isprintable() and 0 < len(each) <= _WORD for each in _words(manifest)),
    )
    yield (
        f"input must be pixels, float32, in 0..255, of 1 to {_SIDE} rows and columns",
        (spec.name, spec.dtype, spec.range) == ("pixels", "float32", [0, 255])
        and 0 < min(spec.height, spec.width) <= max(spec.height, spec.width) <= _SIDE,
    )
    layers = manifest.layercam.layers if manifest.layercam else []
    yield (
        "features must be no larger than the input, with 1 to 65536 channels",
        all(
            0 < each.height <= spec.height and 0 < each.width <= spec.width and 0 < each.channels <= 2**16
            for each in (map_, *layers)
        ),
    )
    yield (
        "LayerCAM must have at least one layer, and from one to the next more cells",
        (manifest.layercam is None or len(layers) > 0)
        and all(one.height < other.height and one.width < other.width for one, other in pairwise(layers)),
    )
    yield (
        "labels must be two different ones, with the positive one, and none of them UNSURE",
        len({*manifest.labels, "UNSURE"}) - 1 == len(manifest.labels) == 2 and manifest.positive in manifest.labels,
    )
    yield (
        "calibration must have a positive scale and a bias that are numbers",
        0 < manifest.calibration.scale < math.inf and math.isfinite(manifest.calibration.bias),
    )
    yield "the default operating point must be one of the points", points.default in points.points
    yield (
        "thresholds, recall and specificity must lie in 0..1",
        all(
            0 <= value <= 1
            for point in points.points.values()
            for value in (point.threshold, point.recall, point.specificity)
        ),
    )
    yield (
        "certain_from must lie between its threshold and 1",
        all(point.threshold <= point.upper <= 1 for point in points.points.values()),
    )
    yield (
        "the calibration's prevalence must lie between 0 and 1",
        manifest.calibration.prevalence is None or 0 < manifest.calibration.prevalence < 1,
    )
    yield "precisions must contain fp32", "fp32" in manifest.precisions
    yield (
        "every precision's file must be in files",
        all(each.file in manifest.files for each in manifest.precisions.values()),
    )
    yield (
        "the gate's, the lungs', LayerCAM's and the self-test's file must be in files",
        all(
            each is None or each.file in manifest.files
            for each in (manifest.gate, manifest.lungs, manifest.layercam, manifest.self_test)
        ),
    )
    yield (
        f"the gate's threshold must lie in 0..{_SCORE:g}",
        manifest.gate is None or 0 <= manifest.gate.threshold <= _SCORE,
    )
    detector = manifest.gate and manifest.gate.scope
    yield (
        f"the scope's threshold must lie in -{_SCORE:g}..{_SCORE:g}",
        detector is None or abs(detector.threshold) <= _SCORE,
    )
    yield "the lungs' Dice coefficient must lie in 0..1", manifest.lungs is None or 0 <= manifest.lungs.dice <= 1
    yield (
        "scope's ages must be none or two of 0..150, the youngest first",
        scope is None or not scope.ages or (len(scope.ages) == 2 and 0 <= scope.ages[0] <= scope.ages[1] <= 150),
    )
    yield (
        "files must be plain names with a SHA-256",
        all(
            re.fullmatch(r"\w[\w.-]*", name) and re.fullmatch(r"[0-9a-f]{64}", record.sha256)
            for name, record in manifest.files.items()
        ),
    )
    yield (
        f"files must have at most {_LARGEST} bytes in all",
        all(record.bytes >= 0 for record in manifest.files.values())
        and sum(record.bytes for record in manifest.files.values()) <= _LARGEST,
    )


def _words(manifest: "Manifest") -> Iterator[str]:
    """Give what reaches tables, messages and file names."""
    yield from (manifest.name, manifest.version, *manifest.labels, *manifest.files)
    yield from (*manifest.operating_points.points, *manifest.precisions)
    if manifest.scope is not None:
        yield from (*manifest.scope.views, *manifest.scope.body_parts)
