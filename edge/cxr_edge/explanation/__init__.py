"""What a user may choose about an explanation; without NumPy and ONNX Runtime, because the command line imports it."""

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, get_args

from cxr_edge.errors import UsageError

Method = Literal["gradcam", "lime", "both", "shap", "all"]
"""``both`` are Grad-CAM and LIME; ``all`` are these and Shapley values."""
CamMethod = Literal["gradcam", "hirescam", "gradcam++", "layercam"]
Segmentation = Literal["slic", "grid", "quickshift"]
Mode = Literal["fast", "reference"]
Score = Literal["logodds", "probability"]
Fill = Literal["mean", "blur", "black"]
"""What a hidden superpixel looks like: its mean grey level, the blurred picture, or black."""

CAM_NAMES: dict[CamMethod, str] = {
    "gradcam": "Grad-CAM",
    "hirescam": "HiResCAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
}

PREDICTED = "predicted"
"""The target that stands for the label of the answer."""
DEFAULT_SUPERPIXELS = 30
"""A block of 64 perturbations (see `lime.perturbations`) resolves up to 31."""
PIXELS_A_SUPERPIXEL = 64
"""Fewer are no region any more."""
MAX_SUPERPIXELS = 224 * 224 // PIXELS_A_SUPERPIXEL
MAX_SAMPLES = 100_000
MAX_SEED = 2**32 - 1
"""The largest seed that NumPy's legacy generator takes, which the ``lime`` package draws from."""


@dataclass(frozen=True)
class LimeOptions:
    """How LIME and Shapley values are to run; None takes the own default. They are checked here and nowhere else.

    Attributes:
        mode: ``fast`` or ``reference``, see `Lime.explain`.
        segments: How to partition the input, see `segment`.
        superpixels: About how many superpixels, 1 to 784.
        samples: Perturbations, 2 to 100,000; the fast mode rounds up to whole pairs.
        seed: What they are drawn from, 0 to 2³²-1; None derives it from the pixels and the options.
        stability: Fast mode: expected overlap of the leading superpixels to reach, above 0 and below 1.
        budget: Fast mode: seconds to stop within, above 0; one batch of perturbations is always evaluated.
        score: ``logodds`` (fast mode) or, in the reference mode, ``probability`` (its default) as well.
        fill: What a hidden superpixel looks like.
        second_fill: Another fill, under which all is computed once more to say how far the ranking depends on it.

    Raises:
        UsageError: An option is out of range, does not fit the mode, or needs a package that is not installed.
    """

    mode: Mode = "fast"
    segments: Segmentation = "slic"
    superpixels: int = DEFAULT_SUPERPIXELS
    samples: int | None = None
    seed: int | None = None
    stability: float | None = None
    budget: float | None = None
    score: Score | None = None
    fill: Fill = "mean"
    second_fill: Fill | None = None

    def __post_init__(self) -> None:
        check_choice("lime mode", self.mode, get_args(Mode))
        check_choice("segments", self.segments, get_args(Segmentation))
        check_choice("score", self.score, (None, *get_args(Score)))
        check_choice("fill", self.fill, get_args(Fill))
        check_choice("second fill", self.second_fill, (None, *get_args(Fill)))
        if self.second_fill == self.fill:
            raise UsageError(f"the second fill is {self.fill}, as the first", cure="take another one, or none")
        _check_whole("superpixels", self.superpixels, 1, MAX_SUPERPIXELS)
        if self.samples is not None:
            _check_whole("samples", self.samples, 2, MAX_SAMPLES)
        if self.seed is not None:
            _check_whole("seed", self.seed, 0, MAX_SEED)
        if self.stability is not None:
            _check_between("stability", self.stability, 1.0, "a share above 0 and below 1, such as 0.85")
        if self.budget is not None:
            _check_between("budget", self.budget, math.inf, "seconds above 0")
        if self.mode == "reference" and (self.stability is not None or self.budget is not None):
            raise UsageError("stability and budget steer the fast mode", cure="give the reference mode samples only")
        if self.mode == "fast" and self.score == "probability":
            raise UsageError("the fast mode explains the log-odds", cure="take the reference mode for the probability")
        if self.segments == "quickshift" and find_spec("skimage") is None:
            cure = "run pip install 'cxr-edge[lime]' or choose --segments slic"
            raise UsageError("quickshift superpixels need scikit-image, which is not installed", cure=cure)


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a word that is none of the choices.

    Raises:
        UsageError: The message lists the choices.
    """
    if value not in choices:
        raise UsageError(f"{name} {value!r}; expected one of {', '.join(str(each) for each in choices if each)}")


def _check_whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name} {value}; expected a whole number from {low} to {high}")


def _check_between(name: str, value: object, high: float, expected: str) -> None:
    if not isinstance(value, int | float) or not 0 < value < high:
        raise UsageError(f"{name} {value}; expected {expected}")
