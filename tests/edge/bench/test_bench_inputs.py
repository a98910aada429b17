import shutil

import cv2
import numpy as np
import pytest

from cxr_edge.bench import environment as environments
from cxr_edge.bench.environment import Environment, look_around
from cxr_edge.bench.inputs import MOST, Inputs, open_inputs
from cxr_edge.bench.phantom import phantom, phantom_jpeg
from cxr_edge.errors import InputError
from cxr_edge.reading.decode import read_radiograph


def test_without_files_there_is_a_synthetic_one_for_as_long_as_it_takes():
    with open_inputs([]) as (files, inputs):
        (file,) = files
        assert read_radiograph(file).pixels.shape == (1084, 1384)
        assert inputs.synthetic
        assert str(inputs) == "a synthetic radiograph (JPEG 1384x1084)"
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
    with open_inputs([radiographs]) as (files, inputs):
        assert files == tuple(sorted(radiographs.iterdir()))
        assert (inputs.files, inputs.found, inputs.synthetic) == (5, 5, False)
        assert "DICOM 1024x1024" in inputs.formats
        assert str(radiographs) not in str(inputs.to_json())
        assert Inputs.from_json(inputs.to_json()) == inputs
        with open_inputs(reversed(files)) as (_, reversed_inputs):
            assert reversed_inputs.sha256 != inputs.sha256


def test_of_many_files_some_are_taken_evenly(tmp_path):
    for number in range(40):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), np.full((20, 20), number + 100, np.uint8))
    with open_inputs([tmp_path]) as (files, inputs):
        numbers = [int(file.stem) for file in files]
        assert len(files) == inputs.files == MOST
        assert inputs.found == 40
        assert str(inputs) == "16 files of 40, evenly spaced (PNG 20x20)"
    assert set(np.diff(numbers).tolist()) == {2, 3}


def test_nothing_is_measured_with_what_cannot_be_read(radiographs, tmp_path):
    shutil.copy(radiographs / "NORMAL2-IM-0588-0001.jpeg", tmp_path / "good.jpeg")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for path, said in ((tmp_path, "bad.png"), (tmp_path / "gone.png", "gone.png: no such file")):
        with pytest.raises(InputError, match=said), open_inputs([path]):
            pass


def test_the_environment_names_what_computes_and_survives_json():
    here = look_around(cuda=False)
    assert {"cxr-edge", "numpy", "onnxruntime"} <= set(here.packages) | {"onnxruntime"}
    assert here.processor
    assert here.accelerator is None
    assert 1 <= here.usable_cores <= here.cores
    assert Environment.from_json(here.to_json()) == here


def test_a_gpu_is_named_where_cuda_computes(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA T4'\n", encoding="ascii")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look_around(cuda=True).accelerator == "NVIDIA T4"
    assert "NVIDIA T4" in look_around(cuda=True).machine
    tool.unlink()
    assert look_around(cuda=True).accelerator == "unnamed GPU"


def test_a_processor_without_a_name_is_still_something(monkeypatch, tmp_path):
    monkeypatch.setattr(environments, "_CPUINFO", tmp_path / "none")
    assert look_around(cuda=False).processor


@pytest.mark.parametrize(("load", "busy"), [(None, False), (0.2, False), (0.6, True), (8.0, True)])
def test_a_busy_machine_is_noticed(environment, load, busy):
    from dataclasses import replace

    assert replace(environment, load=load, cores=4, usable_cores=4).busy is busy
    assert not replace(environment, load=3.0, cores=8, usable_cores=4).busy
