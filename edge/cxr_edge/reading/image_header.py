"""The Image Pixel module of a DICOM file (PS3.3 section C.7.6.3): how its pixel data are to be read."""

import re
from dataclasses import dataclass

from cxr_edge.errors import InputError
from cxr_edge.reading.data_set import DataSet, name
from cxr_edge.reading.picture import check_size

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})
_COLOR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT"})
_KNOWN = {re.sub(r"\W|_", "", value): value for value in _GREY | _COLOR}
_WORDS = (1, 8, 16, 32)


@dataclass(frozen=True)
class ImageHeader:
    """The elements of the Image Pixel module, in range.

    Attributes:
        rows: Rows (0028,0010).
        columns: Columns (0028,0011).
        samples: Samples per Pixel (0028,0002): 1 or 3.
        photometric: Photometric Interpretation (0028,0004), as the standard spells it.
        planar: Planar Configuration (0028,0006).
        allocated: Bits Allocated (0028,0100): 1, 8, 16 or 32.
        stored: Bits Stored (0028,0101).
        high_bit: High Bit (0028,0102), from ``stored - 1`` to ``allocated - 1``.
        signed: Whether Pixel Representation (0028,0103) says two's complement.
        warnings: What did not make sense, one sentence each.
    """

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    warnings: tuple[str, ...] = ()


def read_image_header(dataset: DataSet) -> ImageHeader:
    """Read and check the Image Pixel module.

    Args:
        dataset: A file with pixel data.

    Returns:
        The header of one frame.

    Raises:
        InputError: An element of type 1 is missing or out of range, there are several frames, or more than 100
            megapixels. The message names the element with its tag.
    """
    rows, columns = (_required(dataset, keyword) for keyword in ("Rows", "Columns"))
    check_size(columns, rows, _frames(dataset))
    samples = _required(dataset, "SamplesPerPixel")
    photometric = _photometric(dataset, samples)
    allocated, stored = (_required(dataset, keyword) for keyword in ("BitsAllocated", "BitsStored"))
    if allocated not in _WORDS:
        raise _unsupported("BitsAllocated", allocated, "1, 8, 16 or 32")
    if not 1 <= stored <= allocated:
        problem = f"{name('BitsStored')} is {stored} of {name('BitsAllocated')} {allocated}"
        raise InputError(problem, kind="damaged", cure="export the image again")
    representation = _required(dataset, "PixelRepresentation")
    if representation not in {0, 1}:
        raise _unsupported("PixelRepresentation", representation, "0 or 1")
    planar = dataset.number("PlanarConfiguration")
    stated = dataset.number("HighBit")
    high_bit = stored - 1 if stated is None else int(stated)
    warnings = []
    if not stored <= high_bit + 1 <= allocated:
        warnings.append(f"{name('HighBit')} is {high_bit}, which {stored} of {allocated} bits rule out: not used.")
        high_bit = stored - 1
    elif stated is None:
        warnings.append(f"{name('HighBit')} is missing: {high_bit} is assumed.")
    if samples == 3 and planar is None:
        warnings.append(f"{name('PlanarConfiguration')} is missing: colors pixel by pixel are assumed.")
    return ImageHeader(
        rows,
        columns,
        samples,
        photometric,
        0 if planar is None else int(planar),
        allocated,
        stored,
        high_bit,
        representation == 1,
        tuple(warnings),
    )


def _photometric(dataset: DataSet, samples: int) -> str:
    """Read the photometric interpretation; case and blanks do not count (PS3.5 section 6.2)."""
    (stated, *_) = dataset.texts("PhotometricInterpretation") or [""]
    if not stated:
        raise missing("PhotometricInterpretation")
    photometric = _KNOWN.get(re.sub(r"\W|_", "", stated).upper())
    if photometric is None:
        raise InputError(
            "an unknown photometric interpretation (0028,0004)",
            kind="unsupported",
            cure="export the image as MONOCHROME2",
        )
    expected = 1 if photometric in _GREY else 3
    # Three samples of MONOCHROME are a grey image in three equal channels; other pairs cannot be read.
    if samples != expected and (samples, expected) != (3, 1):
        problem = f"{name('SamplesPerPixel')} is {samples}, {name('PhotometricInterpretation')} is {photometric}"
        raise InputError(problem, kind="unsupported", cure="export the image as MONOCHROME2")
    return photometric if samples == expected else "RGB"


def _frames(dataset: DataSet) -> int:
    if not dataset.texts("NumberOfFrames"):
        return 1
    frames = dataset.number("NumberOfFrames")
    if frames is None:
        raise InputError(f"{name('NumberOfFrames')} is no number", kind="damaged", cure="export the image again")
    return int(frames) or 1  # some writers state 0 for a single frame


def missing(keyword: str) -> InputError:
    """Say that an element without which an image cannot be read is missing or empty."""
    return InputError(
        f"{name(keyword)} is missing, which every image must have", kind="damaged", cure="export it again"
    )


def contradiction(found: str, stated: str) -> InputError:
    """Say that a compressed image is not what the header says."""
    problem = f"the compressed image has {found}, {stated}"
    return InputError(problem, kind="damaged", cure="export the image again")


def _required(dataset: DataSet, keyword: str) -> int:
    value = dataset.number(keyword)
    if value is None:
        raise missing(keyword)
    return int(value)


def _unsupported(keyword: str, value: int, expected: str) -> InputError:
    return InputError(f"{name(keyword)} is {value}, expected {expected}", kind="unsupported", cure="export it again")
