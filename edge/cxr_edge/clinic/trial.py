"""A node tried out before it serves: an echo, an image of the bundle, and what every archive would take.

The trial runs in a folder of its own and sends nothing to an archive that the archive would keep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.clinic.delivery import Archive, accepts, associate, results_in
from cxr_edge.clinic.node import OUTBOX, NodeOptions
from cxr_edge.clinic.results import ResultOptions
from cxr_edge.results.journal import JOURNAL, read_journal
from cxr_edge.results.schema import Answered, Failed, Record
from cxr_edge.runtime.reference import read_reference

_PATIENCE = 60.0  # seconds for an answer


@dataclass(frozen=True)
class TrialFinding:
    """One thing that was tried.

    Attributes:
        fine: Whether it works.
        text: What came back.
    """

    fine: bool
    text: str


def try_node(
    run: Callable[..., object], options: NodeOptions, bundle: Bundle, *, results: ResultOptions, explained: bool
) -> Iterator[TrialFinding]:
    """Start a node in a folder of its own, send it an echo and an image, and ask every archive what it takes.

    Args:
        run: `cxr_edge.clinic.node.run_node` with the model, the parameters and the workers.
        options: How the node would talk to others. Where a node listens at its port already, another port is taken.
        bundle: What answers; its first reference input is the image.
        results: Which DICOM objects would be made.
        explained: Whether answers would be explained, and have a figure.

    Raises:
        UsageError: See `run_node`.
    """
    if _echo(options, options.port):
        yield TrialFinding(True, f"a node answers at port {options.port} already; the trial takes another port")
        options = replace(options, port=0)
    found: list[TrialFinding] = []
    with TemporaryDirectory(prefix="cxr-edge-trial-") as folder:
        out = Path(folder) / "out"

        def ready(port: int, stop: Event) -> None:
            def work() -> None:
                try:
                    found.append(TrialFinding(_echo(options, port), "C-ECHO"))
                    found.append(_send_image(options, port, bundle, out))
                finally:
                    stop.set()

            Thread(target=work, daemon=True).start()

        run(replace(options, send_to=()), out=out, results=results, ready=ready)
    yield from found
    classes = {EnhancedSRStorage if results.report == "enhanced" else Comprehensive3DSRStorage}
    classes |= {SecondaryCaptureImageStorage} if explained else set()
    classes |= {GrayscaleSoftcopyPresentationStateStorage} if explained and results.gsps else set()
    for archive in options.send_to:
        association = associate(archive, {*classes, Verification}, ae_title=options.ae_title, tls=options.client_tls)
        if association is None:
            yield TrialFinding(False, f"{archive} cannot be reached, or refuses the association")
            continue
        refused = [each.name for each in sorted(classes) if not accepts(association, each)]
        association.release()
        yield TrialFinding(not refused, f"{archive} " + (f"refuses {', '.join(refused)}" if refused else "takes all"))


def _itself(options: NodeOptions, port: int, *classes: str) -> Any:
    """Open an association with the node, as one of those that may; None where it gives none."""
    host = "127.0.0.1" if options.host in {"", "0.0.0.0"} else options.host  # noqa: S104  # compared, not bound
    node = Archive(options.ae_title, host, port, tls=options.server_tls is not None)
    calling = options.accept[0] if options.accept else options.ae_title
    return associate(node, classes, ae_title=calling, tls=options.trial_tls)


def _echo(options: NodeOptions, port: int) -> bool:
    association = _itself(options, port, Verification) if port else None
    if association is None:
        return False
    status = association.send_c_echo().get("Status")
    association.release()
    return status == 0x0000


def _send_image(options: NodeOptions, port: int, bundle: Bundle, out: Path) -> TrialFinding:
    """Send the node an image and wait for its record."""
    association = _itself(options, port, DigitalXRayImageStorageForPresentation)
    if association is None:
        return TrialFinding(False, "image: no association")
    begun, status = time.monotonic(), association.send_c_store(_image(bundle)).get("Status")
    association.release()
    if status != 0x0000:
        return TrialFinding(False, "image: not taken" + ("" if status is None else f" (status 0x{status:04X})"))
    while time.monotonic() - begun < _PATIENCE:
        if (out / JOURNAL).exists() and (entries := list(read_journal(out / JOURNAL))):
            record, count = entries[0].record, len(results_in(out / OUTBOX))
            text = f"image: taken, {_said(record)} after {time.monotonic() - begun:.1f} s, {count} DICOM results made"
            return TrialFinding(not isinstance(record, Failed) and count > 0, text)
        time.sleep(0.05)
    return TrialFinding(False, f"image: taken, and not answered within {_PATIENCE:.0f} s")


def _said(record: Record) -> str:
    if isinstance(record, Failed):
        return f"not answered ({record.error.problem})"
    return f"answered {record.label}" if isinstance(record, Answered) else "refused as no radiograph to answer"


def _image(bundle: Bundle) -> Dataset:
    """Make a DX image of the bundle's first reference input; there is no patient in it."""
    pixels = np.asarray(read_reference(bundle)[0].inputs[0], np.uint8)
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.Modality, image.PatientName, image.PatientID = "DX", "", ""
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    image.add_new("PixelData", "OB", pixels.tobytes())
    return image
