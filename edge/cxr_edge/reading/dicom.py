"""DICOM files → radiographs.

Only the elements that the pixels need, a few facts that identify nobody, and the two dates that make an age are looked
at. No text of pydicom's gets out: it may quote any value of the file.
"""

from pathlib import Path

from cxr_edge.errors import InputError
from cxr_edge.reading import attributes
from cxr_edge.reading.attributes import coded
from cxr_edge.reading.data_set import DataSet, read_data_set
from cxr_edge.reading.display_parameters import of_single_frame, read_display_parameters
from cxr_edge.reading.display_pipeline import display
from cxr_edge.reading.image_header import ImageHeader, read_image_header
from cxr_edge.reading.pixel_data import find_pixel_data, stored_pixels
from cxr_edge.reading.radiograph import Radiograph, Source
from cxr_edge.reading.transfer_syntax import check_supported

_CODED_STRINGS = ("Modality", "BodyPartExamined", "ViewPosition")


def read_dicom(data: bytes, path: Path | None = None) -> Radiograph:
    r"""Read a single-frame DICOM image as it is meant to be shown.

    The header is checked first, then the pixels are decoded, turned to ``L\F`` (PS3.3 C.7.6.1.1.1) and sent through the
    stages of `cxr_edge.reading.display_pipeline`. A window that makes no sense, or none in an image deeper than 8 bits,
    gives way to the range of the values; pixel padding (C.7.5.1.1.2) counts for nothing and becomes black. Color is
    turned to grey by luma. `Source.steps` states what was done.

    Args:
        data: The whole file, with or without preamble.
        path: Where it came from.

    Returns:
        float32 pixels in 0..1.

    Raises:
        InputError: The file has no pixels, several frames, more than 100 megapixels, is damaged, contradicts itself, or
            its transfer syntax has no decoder here. No message quotes a value that could identify somebody.
    """
    try:
        return _read(data, path)
    except InputError:
        raise
    except Exception:  # noqa: BLE001  # of a damaged file anything can be wrong, and a text may quote its values
        raise InputError("the DICOM data are damaged", kind="damaged", cure="fetch the file again") from None


def _read(data: bytes, path: Path | None) -> Radiograph:
    dataset = of_single_frame(read_data_set(data))
    check_supported(dataset.syntax)
    find_pixel_data(dataset)
    header = read_image_header(dataset)
    parameters = read_display_parameters(dataset, header)
    stored = stored_pixels(dataset, header)
    shown = display(stored.pixels, parameters)
    warnings = (*header.warnings, *stored.warnings, *shown.warnings, *attributes.code_warnings(dataset, _CODED_STRINGS))
    return Radiograph(shown.pixels, 1.0, _source(dataset, header, shown.steps, path), warnings)


def _source(dataset: DataSet, header: ImageHeader, steps: tuple[str, ...], path: Path | None) -> Source:
    modality, body_part, view_position = (attributes.code(dataset, keyword) for keyword in _CODED_STRINGS)
    age = attributes.age(dataset)
    return Source(
        path,
        "DICOM",
        header.columns,
        header.rows,
        header.stored,
        steps,
        modality=modality,
        body_part=body_part,
        view_position=view_position,
        anatomic_region=coded(dataset, "AnatomicRegionSequence"),
        view_code=_view(dataset),
        patient_age_years=age.years if age else None,
        patient_age_stated=age.stated if age else None,
    )


def _view(dataset: DataSet) -> str | None:
    """Say what view the codes state, with its modifier, which belongs to the item of the view."""
    view = coded(dataset, "ViewCodeSequence")
    modifiers = (coded(item, "ViewModifierCodeSequence") for item in dataset.items("ViewCodeSequence")[:1])
    modifier = next(modifiers, None)
    return f"{view}, {modifier.lower()}" if view and modifier else view
