"""Which transfer syntaxes of DICOM can be decoded here, and what the others lack."""

from collections.abc import Iterator

from cxr_edge.doctor.finding import Finding

AREA = "DICOM"
_CURE = 'python -m pip install "cxr-edge[dicom]"'


def examine_decoders() -> Iterator[Finding]:
    """Ask pydicom for a decoder of every compressed transfer syntax of still images (PS3.5 section 10)."""
    try:
        from pydicom import uid
        from pydicom.pixels import get_decoder
    except Exception as error:  # noqa: BLE001  # whatever breaks pydicom has been named among the packages
        yield Finding(AREA, "decoders", "note", f"not checked: pydicom cannot be imported ({error})")
        return
    syntaxes = {
        "JPEG": [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit],
        "JPEG lossless": [uid.JPEGLossless, uid.JPEGLosslessSV1],
        "JPEG-LS": [uid.JPEGLSLossless, uid.JPEGLSNearLossless],
        "JPEG 2000": [uid.JPEG2000Lossless, uid.JPEG2000],
        "HTJ2K": [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K],
        "RLE": [uid.RLELossless],
    }
    for name, members in syntaxes.items():
        facts: dict[str, object] = {}
        without: list[str] = []
        by: set[str] = set()
        for syntax in members:
            decoder = get_decoder(syntax)
            plugins = list(decoder.available_plugins)
            facts[str(syntax)] = {"name": syntax.name, "plugins": plugins, "missing": decoder.missing_dependencies}
            by.update(plugins)
            # Each entry reads "plug-in - requires packages"; any one of them would do.
            without += [] if plugins else [each.partition(" requires ")[2] for each in decoder.missing_dependencies]
        if without:
            lacks = ", or ".join(dict.fromkeys(without))
            yield Finding(AREA, name, "note", f"cannot be decoded; it lacks {lacks}", facts, (_CURE,))
        else:
            yield Finding(AREA, name, "ok", f"decoded by {' or '.join(sorted(by))}", facts)
