"""Elements in every encoding, with whatever is wrong about it."""

import logging
import struct
import threading
import time
import warnings
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cxr_edge.errors import InputError
from cxr_edge.reading import dicom
from cxr_edge.reading.data_set import name, read_data_set
from cxr_edge.reading.decode import read_radiograph
from cxr_edge.reading.transfer_syntax import syntax_name
from dicoms import NAME, VALUES, dataset, item, parsed, written

SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_texts_numbers_and_items_of_every_encoding(syntax):
    nested = item(WindowCenter=[7, 8], VOILUTSequence=[item(LUTExplanation="deep")])
    image = dataset(PatientOrientation=["L", "F"], RescaleSlope="1.5", SharedFunctionalGroupsSequence=[nested, item()])
    image["SharedFunctionalGroupsSequence"].is_undefined_length = True
    nested.is_undefined_length_sequence_item = True
    found = read_data_set(written(image, syntax))
    assert found.syntax == syntax
    assert found.texts("PatientOrientation") == ["L", "F"]
    assert (found.number("RescaleSlope"), found.number("Rows"), found.number("BitsAllocated")) == (1.5, 40, 16)
    first, second = found.items("SharedFunctionalGroupsSequence")
    assert first.numbers("WindowCenter") == [7, 8]
    assert [each.texts("LUTExplanation") for each in first.items("VOILUTSequence")] == [["deep"]]
    assert not second.elements
    assert len(found.get("PixelData").value) == 4000
    assert (found.cut, "Modality" in found, "StudyDate" in found) == (None, True, False)


def test_what_is_no_number_is_none():
    found = parsed(item(Modality="DX", StudyDate=""))
    assert found.number("Modality") is None
    assert found.number("StudyDate") is None
    assert found.texts("StudyDate") == []
    assert found.numbers("Rows") == []


def test_a_data_set_may_be_written_otherwise_than_its_transfer_syntax_says():
    for syntax, other in (
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        (ExplicitVRBigEndian, ImplicitVRLittleEndian),
    ):
        data = written(dataset(), other)
        at = data.index(str(other).encode())
        size = len(str(syntax)) + len(str(syntax)) % 2
        old = len(str(other)) + len(str(other)) % 2
        wrong = data[: at - 2] + struct.pack("<H", size) + str(syntax).encode().ljust(size, b"\0") + data[at + old :]
        np.testing.assert_allclose(read_radiograph(wrong).pixels, VALUES / VALUES.max(), atol=1e-6)


def test_a_sequence_of_unknown_representation_is_implicit():
    group = item(FrameVOILUTSequence=[item(WindowCenter=2048, WindowWidth=4096)])
    inner = parsed_bytes(group)
    data = written(dataset())
    at = data.index(b"\xe0\x7f\x10\0")
    element = (
        b"\0\x52\x29\x92UN\0\0" + struct.pack("<I", len(inner) + 8) + b"\xfe\xff\0\xe0" + struct.pack("<I", len(inner))
    )
    radiograph = read_radiograph(data[:at] + element + inner + data[at:])
    assert radiograph.source.steps == ("window 2048/4096 (LINEAR)",)


def parsed_bytes(elements):
    from io import BytesIO

    file = BytesIO()
    pydicom.dcmwrite(file, elements, implicit_vr=True, little_endian=True)
    return file.getvalue()


def test_sequences_nested_too_deep_and_too_many_elements_are_refused_in_time():
    deep = b"\x40\0\x75\xa3SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 20_000
    many = b"\x08\0\x60\0CS\0\0" * 400_000
    start = written(dataset())[:132] + b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
    items = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\0\0\0\0" * 2_000_000
    stated = b"\xe0\x7f\x10\0OB\0\0" + struct.pack("<I", 16_000_000) + items[12:]
    image = written(dataset(PixelData=None))
    for data in (start + deep, start + many, image + items, image + stated):
        started = time.perf_counter()
        with pytest.raises(InputError) as caught:
            read_radiograph(data)
        assert caught.value.kind in {"damaged", "truncated"}
        assert time.perf_counter() - started < 5


@pytest.mark.parametrize("private", [0, 40, 3000, 60_000])
def test_a_deflated_bomb_is_not_inflated_wherever_its_transfer_syntax_lies(monkeypatch, private):
    monkeypatch.setattr("cxr_edge.reading.data_set.MAX_INFLATED", 100_000)
    bomb = zlib.compressobj(wbits=-15)
    inflated = bomb.compress(bytes(10_000_000)) + bomb.flush()
    filler = b"\x02\0\x00\x01UN\0\0" + struct.pack("<I", private) + bytes(private)
    uid = b"\x02\0\x10\0UI\x16\x00" + str(DeflatedExplicitVRLittleEndian).encode()
    for head in (uid + filler, filler + uid):  # before or behind any other element
        with pytest.raises(InputError) as caught:
            read_radiograph(bytes(128) + b"DICM" + head + inflated)
        assert caught.value.kind == "too-large"


def test_a_data_set_that_is_not_deflated_names_the_transfer_syntax():
    data = written(dataset())
    uid = str(DeflatedExplicitVRLittleEndian).encode()
    at = data.index(b"1.2.840.10008.1.2.1\0")
    with pytest.raises(InputError, match=r"\(0002,0010\) says that the data set is deflated"):
        read_radiograph(data[: at - 2] + struct.pack("<H", len(uid)) + uid + data[at + 20 :])


def test_names():
    assert name("Rows") == "Rows (0028,0010)"
    assert syntax_name("1.2.840.10008.1.2.4.110") == "JPEG XL Lossless (1.2.840.10008.1.2.4.110)"
    assert syntax_name("1.2.3") == "1.2.3"
    for none in (NAME, "", "1.2.", ".1.2", "1.02", "1" * 65, "1.2\n"):
        assert syntax_name(none) is None


# Nobody else's state


def test_two_threads_decode_at_once(monkeypatch):
    data = written(dataset())
    meeting = threading.Barrier(4)  # whoever holds a lock while decoding keeps the others from it
    decode = dicom.stored_pixels

    def meet(*arguments):
        meeting.wait(timeout=20)
        return decode(*arguments)

    monkeypatch.setattr(dicom, "stored_pixels", meet)
    found = []
    threads = [threading.Thread(target=lambda: found.append(read_radiograph(data).pixels)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for pixels in found:
        np.testing.assert_array_equal(pixels, found[0])


def state():
    logger = logging.getLogger("pydicom")
    return (
        logger.disabled,
        logger.level,
        logger.propagate,
        list(logger.handlers),
        list(logger.filters),
        list(warnings.filters),
        warnings.showwarning,
        pydicom.config.settings.reading_validation_mode,
        pydicom.config.debugging,
    )


NONSENSE = (
    {"SpecificCharacterSet": "ISO_IR 100"},
    {"WindowCenter": "1", "WindowWidth": "1", "BodyPartExamined": NAME},
    {"PatientAge": "Muste"},
    {"NumberOfFrames": 0},
    {"PixelData": VALUES.tobytes() + bytes(1000)},
)


@pytest.mark.parametrize("elements", NONSENSE)
def test_loggers_and_warnings_of_the_host_are_left_alone_and_get_nothing(elements, monkeypatch, caplog, capfd):
    data = written(dataset(**elements)).replace(b"ISO_IR 100", b"Mustermann")
    seen = []
    decode = dicom.stored_pixels
    before = state()

    def look(*arguments):
        seen.append(state())
        return decode(*arguments)

    monkeypatch.setattr(dicom, "stored_pixels", look)
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = state()
        read_radiograph(data)
        assert state() == before
    assert seen == [before]
    assert not caught
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
