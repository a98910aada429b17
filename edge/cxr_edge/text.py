"""Text that is safe to print."""


def printable(text: str) -> str:
    """Escape what could break a line or a terminal: control characters, and bytes of a path that are no UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def plain(text: str) -> str:
    """Escape all that is no printable ASCII, for what knows no other characters: some fonts, some DICOM objects."""
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")
