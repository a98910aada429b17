import shutil

import cv2
import msgspec
import numpy as np
import pytest

from cxr_edge.bench.cases import MOST, InputSummary, open_inputs, phantom, phantom_jpeg
from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph


def test_without_files_there_is_a_synthetic_one_for_as_long_as_it_takes():
    with open_inputs([]) as inputs:
        (file,), (radiograph,) = inputs.files, inputs.radiographs
        assert radiograph.pixels.shape == (1084, 1384)
        assert np.array_equal(read_radiograph(file).pixels, radiograph.pixels)
        assert inputs.summary.synthetic
        assert str(inputs.summary) == "a synthetic radiograph (JPEG 1384x1084)"
    assert not file.parent.exists()


def test_the_phantom_is_always_the_same_and_like_a_radiograph():
    one = phantom()
    assert one.dtype == np.uint8
    assert np.array_equal(one, phantom())
    lung, spine = one[400:600, 380:450].mean(), one[400:600, 660:720].mean()
    assert 20 < lung < 120 < spine < 240
    assert 150_000 < len(phantom_jpeg()) < 500_000
    assert not read_radiograph(phantom_jpeg()).warnings


def test_what_was_measured_with_is_said_without_a_path(radiographs):
    with open_inputs([radiographs]) as opened:
        inputs, files = opened.summary, opened.files
        assert files == tuple(sorted(radiographs.iterdir()))
        assert (inputs.files, inputs.found, inputs.synthetic) == (5, 5, False)
        assert "DICOM 1024x1024" in inputs.formats
        assert str(radiographs) not in str(inputs.to_json())
        assert msgspec.convert(inputs.to_json(), InputSummary) == inputs
        with open_inputs(reversed(files)) as reversed_inputs:
            assert reversed_inputs.summary.sha256 != inputs.sha256


def test_of_many_files_some_are_taken_evenly(tmp_path):
    for number in range(40):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), np.full((20, 20), number + 100, np.uint8))
    with open_inputs([tmp_path]) as inputs:
        numbers = [int(file.stem) for file in inputs.files]
        assert len(numbers) == inputs.summary.files == MOST
        assert inputs.summary.found == 40
        assert str(inputs.summary) == "16 files of 40, evenly spaced (PNG 20x20)"
    assert set(np.diff(numbers).tolist()) == {2, 3}


def test_nothing_is_measured_with_what_cannot_be_read(radiographs, tmp_path):
    shutil.copy(radiographs / "NORMAL2-IM-0588-0001.jpeg", tmp_path / "good.jpeg")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for path, said in ((tmp_path, "bad.png"), (tmp_path / "gone.png", "gone.png: no such file")):
        with pytest.raises(InputError, match=said), open_inputs([path]):
            pass
