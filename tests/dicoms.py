"""Small DICOM files, made for a test."""

from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from cxr_edge.reading.elements import DataSet, read_data_set

NAME = "Mustermann^Erika^von"
VALUES = np.add.outer(np.arange(40) * 30, np.arange(50) * 50).astype(np.uint16)  # 0..3620 of 12 bits


def dataset(values=VALUES, *, bits=12, photometric="MONOCHROME2", **elements):
    """A digital radiograph with a patient's name and number in it."""
    image = Dataset()
    image.PatientName, image.PatientID, image.PatientBirthDate = NAME, "4711-0815", "20190401"
    image.Modality = "DX"
    image.Rows, image.Columns = values.shape[:2]
    image.SamplesPerPixel = 1 if values.ndim == 2 else 3
    image.PhotometricInterpretation = photometric
    image.BitsAllocated, image.BitsStored, image.HighBit = values.dtype.itemsize * 8, bits, bits - 1
    image.PixelRepresentation = int(values.dtype.kind == "i")
    if values.ndim == 3:
        image.PlanarConfiguration = 0
    image.PixelData = values.tobytes()
    for keyword, value in elements.items():
        setattr(image, keyword, value)
    return image


def written(image, syntax=ExplicitVRLittleEndian, *, preamble=True):
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = "1.2.3.4"
    file = BytesIO()
    pydicom.dcmwrite(file, image, enforce_file_format=preamble)
    return file.getvalue()


def parsed(image: Dataset) -> DataSet:
    """What the reader makes of some elements."""
    file = BytesIO()
    pydicom.dcmwrite(file, image, implicit_vr=False, little_endian=True)
    return read_data_set(file.getvalue())
