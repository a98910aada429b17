"""Transfer Syntax UID (0002,0010): its name, whether it is supported, and whether the pixels agree (PS3.5 annex A)."""

import re

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
from cxr_edge.reading.codestream import Codestream

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
