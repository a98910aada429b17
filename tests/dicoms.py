"""Small DICOM files, made for a test."""

import warnings
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian

from cxr_edge.reading.data_set import DataSet, read_data_set

NAME = "Mustermann^Erika^von"
VALUES = np.add.outer(np.arange(40) * 30, np.arange(50) * 50).astype(np.uint16)  # 0..3620 of 12 bits


def dataset(values=VALUES, *, bits=12, photometric="MONOCHROME2", **elements):
    """A digital radiograph with a patient's name and number in it; an element that is None is left out."""
    image = Dataset()
    image.PatientName, image.PatientID, image.PatientBirthDate = NAME, "4711-0815", "20190401"
    image.Modality = "DX"
    image.Rows, image.Columns = values.shape[:2]
    image.SamplesPerPixel = 1 if values.ndim == 2 else 3
    image.BitsAllocated, image.BitsStored, image.HighBit = values.dtype.itemsize * 8, bits, bits - 1
    image.PixelRepresentation = int(values.dtype.kind == "i")
    if values.ndim == 3:
        image.PlanarConfiguration = 0
    image.add_new("PixelData", "OW", values.tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # writing nonsense is often the point
        image.PhotometricInterpretation = photometric
        for keyword, value in elements.items():
            if value is None:
                delattr(image, keyword)
            else:
                setattr(image, keyword, value)
    return image


def item(**elements):
    """An item of a sequence."""
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def coded(value, scheme="SCT", **elements):
    """A sequence with one code, whose meaning names the patient."""
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=NAME, **elements)]


def lut(entries, first, bits, *, vr="US", first_vr=None, keep=None):
    """A sequence with one look-up table, its data as words (US), or as bytes of words (OW)."""
    entries = np.asarray(entries)
    table = Dataset()
    table.add_new("LUTDescriptor", first_vr or ("US" if first >= 0 else "SS"), [len(entries) % 65536, first, bits])
    if vr == "US":
        table.add_new("LUTData", "US", [int(entry) for entry in entries])
    else:
        kind = "u1" if vr == "OB" else "<u2"
        table.add_new("LUTData", "OW", entries.astype(kind).tobytes()[:keep])
    return [table]


def compressed(codestream, syntax, values=VALUES, *, bits=12, has_table=False, **elements):
    """A file whose pixels are one compressed frame, or several."""
    frames = codestream if isinstance(codestream, list) else [codestream]
    image = dataset(values, bits=bits, **elements)
    image.PixelData = encapsulate(frames, has_bot=has_table)
    image["PixelData"].is_undefined_length = True
    image["PixelData"].VR = "OB"
    return written(image, syntax)


def written(image, syntax=ExplicitVRLittleEndian, *, preamble=True):
    """The bytes of a file; a transfer syntax of None is left out."""
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.4"
    file = BytesIO()
    if syntax is None:
        vars(image).pop("file_meta", None)
        pydicom.dcmwrite(file, image, implicit_vr=False, little_endian=True)
        return file.getvalue()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    pydicom.dcmwrite(file, image, enforce_file_format=preamble)
    return file.getvalue()


def parsed(image: Dataset) -> DataSet:
    """What the reader makes of some elements."""
    file = BytesIO()
    pydicom.dcmwrite(file, image, implicit_vr=False, little_endian=True)
    return read_data_set(file.getvalue())


def groups(center=None, width=None, slope=None, intercept=None, **elements):
    """Functional groups with a window and a rescale."""
    group = item(**elements)
    if center is not None:
        group.FrameVOILUTSequence = [item(WindowCenter=center, WindowWidth=width)]
    if slope is not None:
        group.PixelValueTransformationSequence = [item(RescaleSlope=slope, RescaleIntercept=intercept)]
    return [group]
