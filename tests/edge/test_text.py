import os

import pytest

from cxr_edge.text import plain, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Röntgen 肺.png", "Röntgen 肺.png"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        (os.fsdecode(b"bad\xff.png"), r"bad\udcff.png"),
        ("evil\u202egnp.exe", r"evil\u202egnp.exe"),
    ],
)
def test_what_could_break_a_line_or_terminal_is_escaped(text, shown):
    assert printable(text) == shown
    shown.encode()


def test_plain_text_is_ascii():
    assert plain("Röntgen 肺\n") == r"R\xf6ntgen \u80ba\n"
    assert plain("LUNG 2") == "LUNG 2"
