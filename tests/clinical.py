"""DICOM radiographs with other values, and what independent tools say of DICOM results."""

import shutil
import subprocess
import warnings
from pathlib import Path

import pydicom

GIVEN = {"StudyInstanceUID": "1.2.826.0.1.7.1", "SeriesInstanceUID": "1.2.826.0.1.7.2"}


def changed(source, folder, *, swap=(b"", b""), **values):
    """A copy with other values; None takes an element out, and `swap` replaces bytes by as many others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong is the point
        found = pydicom.dcmread(source, force=True)
        for keyword, value in values.items():
            if value is None:
                found.pop(keyword, None)
            else:
                setattr(found, keyword, value)
        place = Path(folder, f"{len(list(Path(folder).iterdir()))}-{Path(source).name}")
        found.save_as(place)
    assert len(swap[0]) == len(swap[1])
    place.write_bytes(place.read_bytes().replace(*swap))
    return place


def errors(path):
    """What dciodvfy, dsrdump and dcmpschk have against a DICOM result; those that are not installed have nothing."""
    said = []
    kind = pydicom.dcmread(path, stop_before_pixels=True).Modality
    if shutil.which("dciodvfy"):
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", check=False)
        said += [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
    if kind == "SR" and shutil.which("dsrdump"):
        done = subprocess.run(["dsrdump", path], capture_output=True, text=True, errors="replace", check=False)
        said += [f"dsrdump: {line}" for line in done.stderr.splitlines() if line.startswith(("E:", "F:"))]
        said += ["dsrdump failed"] if done.returncode else []
    if kind == "PR" and shutil.which("dcmpschk"):
        done = subprocess.run(["dcmpschk", path], capture_output=True, text=True, check=False)
        said += [] if "Test passed" in done.stdout + done.stderr else [f"dcmpschk: {done.stdout}{done.stderr}"]
    return said


def texts(report):
    """Every text, code and number of a report, whatever its depth."""
    for item in report.ContentSequence:
        if item.ValueType == "TEXT":
            yield item.TextValue
        elif item.ValueType == "CODE":
            yield item.ConceptCodeSequence[0].CodeMeaning
        elif item.ValueType == "NUM":
            yield float(item.MeasuredValueSequence[0].NumericValue)
        if "ContentSequence" in item:
            yield from texts(item)
