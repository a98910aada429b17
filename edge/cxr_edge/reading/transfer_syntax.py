"""Transfer Syntax UID (0002,0010): its name, whether it is supported, and whether the pixels agree (PS3.5 annex A)."""

import re
import struct
from dataclasses import dataclass

from pydicom.pixels import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSLossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
    RLETransferSyntaxes,
)

from cxr_edge.errors import InputError

BEGINNINGS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
"""How a frame in JPEG or JPEG-LS, a JPEG 2000 codestream and a JP2 file begin."""
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_JPEG, _JPEG_2000, _JP2 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "


@dataclass(frozen=True)
class Codestream:
    """The facts of a compressed image.

    Attributes:
        family: ``JPEG``, ``JPEG-LS``, ``JPEG 2000`` or ``RLE``.
        components: Samples a pixel; of RLE the number of segments, which is that times the bytes of a sample.
        width: Columns; None of RLE, which does not state them.
        height: Rows; likewise.
        bits: Bits a sample; likewise.
        signed: Whether JPEG 2000 samples are signed.
        process: The JPEG frame marker, such as 0xC0 for baseline and 0xC3 for lossless; None of the others.
        names_rgb: Whether its JPEG components are called R, G and B.
        jfif: Whether a JFIF header says that JPEG colors are YCbCr.
    """

    family: str
    components: int
    width: int | None = None
    height: int | None = None
    bits: int | None = None
    signed: bool = False
    process: int | None = None
    names_rgb: bool = False
    jfif: bool = False


def read_codestream(data: bytes) -> Codestream | None:
    """Read the header of a compressed image.

    Args:
        data: One frame: JPEG (ISO/IEC 10918-1), JPEG-LS (14495-1), JPEG 2000 (15444-1) as a bare codestream or in a
            JP2 file, or RLE (PS3.5 annex G).

    Returns:
        Its facts, None where it is none of these or its header is damaged.
    """
    try:
        if data.startswith(_JPEG):
            return _jpeg(data)
        # A JP2 file begins with boxes; the codestream lies behind a few hundred bytes of them.
        if data.startswith((_JPEG_2000, _JP2)) and (start := data.find(_JPEG_2000, 0, 4096)) >= 0:
            return _jpeg_2000(data, start)
        return _rle(data)
    except (struct.error, IndexError):
        return None


def _jpeg(data: bytes) -> Codestream | None:
    """Read the start of frame (ISO/IEC 10918-1 B.2.2; JPEG-LS: 14495-1 C.2.2)."""
    position, jfif = 2, False
    while marker := _MARKER.search(data, position):
        position, code = marker.end(), data[marker.end() - 1]
        (length,) = struct.unpack_from(">H", data, position)
        if code in _START_OF_FRAME:
            bits, height, width, components = struct.unpack_from(">BHHB", data, position + 2)
            names = bytes(data[position + 8 + 3 * index] for index in range(components))
            family = "JPEG-LS" if code == 0xF7 else "JPEG"
            names_rgb = names in {b"RGB", b"rgb"}
            return Codestream(family, components, width, height, bits, process=code, names_rgb=names_rgb, jfif=jfif)
        jfif = jfif or (0xE0 <= code <= 0xEF and data[position + 2 : position + 6] == b"JFIF")
        position += length
    return None


def _jpeg_2000(data: bytes, start: int) -> Codestream:
    """Read image and component sizes (ISO/IEC 15444-1 A.5.1)."""
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    depth = data[start + 42]
    return Codestream(
        "JPEG 2000", components, right - left, bottom - top, (depth & 0x7F) + 1, signed=bool(depth & 0x80)
    )


def _rle(data: bytes) -> Codestream | None:
    """Read the RLE header (PS3.5 section G.5)."""
    count, *offsets = struct.unpack_from("<16I", data)
    used = offsets[:count]
    if not 1 <= count <= 15 or used[0] != 64 or used != sorted(used) or used[-1] > len(data):
        return None
    return Codestream("RLE", count)


_TAG = "(0002,0010)"
_BY_FAMILY = {"JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000, "RLE": RLELossless}
_BY_PROCESS = {0xC0: JPEGBaseline8Bit, 0xC1: JPEGExtended12Bit}
# Transfer syntaxes of PS3.6 annex A that pydicom does not name yet.
_NEWER = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.204": "JPIP HTJ2K Referenced",
    "1.2.840.10008.1.2.4.205": "JPIP HTJ2K Referenced Deflate",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}


def syntax_name(uid: str) -> str | None:
    """Name a transfer syntax with its UID; one that is not known by its UID alone, and what is no UID not at all."""
    if len(uid) > 64 or not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", uid, re.ASCII):
        return None  # pydicom would quote it in a warning
    known = UID(uid).name
    known = _NEWER.get(uid, uid) if known == uid else known
    return uid if known == uid else f"{known} ({uid})"


def check_supported(stated: str) -> None:
    """Refuse a transfer syntax that no decoder here is made for; none at all may still be found out.

    Args:
        stated: Transfer Syntax UID (0002,0010); empty where there is none.

    Raises:
        InputError: The message names the compression.
    """
    if not stated:
        return
    named = syntax_name(stated)
    if named is None:
        raise InputError(f"its transfer syntax {_TAG} is no UID", kind="damaged", cure="export the image again")
    try:
        get_decoder(UID(stated))
    except NotImplementedError:  # pydicom's word for a transfer syntax that it has no decoder class for
        problem = f"its transfer syntax {_TAG} is {named}, which is not supported"
        raise InputError(problem, kind="unsupported", cure="export the image again uncompressed") from None


def find_syntax(stated: str, codestream: Codestream | None) -> UID:
    """Find the transfer syntax of encapsulated pixels: the stated one if they are encoded in it.

    JPEG and JPEG-LS, which many decoders read alike, may be stated one for the other.

    Args:
        stated: Transfer Syntax UID, one that `check_supported` lets pass; empty where there is none.
        codestream: What the pixels say about themselves, None where nothing can be made out.

    Raises:
        InputError: They contradict each other, or both are missing.
    """
    syntax, found = UID(stated), UID("")
    if codestream is not None:
        found = _BY_FAMILY.get(codestream.family) or _BY_PROCESS.get(codestream.process or 0, JPEGLossless)
    if not stated:
        if codestream is None:
            problem = f"its transfer syntax {_TAG} is missing, and its pixel data begin as no known compression"
            raise InputError(problem, kind="damaged", cure="export the image again")
        return found
    if codestream is None:
        if not syntax.is_encapsulated:
            raise contradicted(stated, "compressed")
        return syntax
    families = {_family(syntax), codestream.family}
    if len(families) == 1:
        return syntax
    if families == {"JPEG", "JPEG-LS"}:
        return found
    raise contradicted(stated, f"compressed as {codestream.family}")


def contradicted(stated: str, found: str) -> InputError:
    """Say that pixels are not encoded as the transfer syntax says.

    Args:
        stated: Transfer Syntax UID.
        found: How they are encoded.
    """
    problem = f"its transfer syntax {_TAG} is {syntax_name(stated)}, but its pixel data are {found}"
    return InputError(problem, kind="damaged", cure="correct the element or export the image again")


def _family(syntax: UID) -> str | None:
    """Name the family of a compression as a codestream does; None of uncompressed pixels."""
    for family, members in (
        ("RLE", RLETransferSyntaxes),
        ("JPEG 2000", JPEG2000TransferSyntaxes),
        ("JPEG-LS", JPEGLSTransferSyntaxes),
        ("JPEG", JPEGTransferSyntaxes),
    ):
        if syntax in members:
            return family
    return None
