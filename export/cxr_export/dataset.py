"""What a network was trained on, as its manifest and model card state it."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from cxr_edge.bundle.manifest import Scope
from cxr_edge.errors import UsageError


@dataclass(frozen=True)
class Dataset:
    """A set of labelled radiographs.

    Attributes:
        name: What it is called.
        licence: Under which terms it may be used.
        citation: What its authors ask to be cited.
        population: Whose radiographs these are.
        labelling: Who called them normal or pneumonia, and on what grounds.
        scope: The limits of the population that DICOM files can be held against; None sets none.
    """

    name: str
    licence: str
    citation: str
    population: str
    labelling: str
    scope: Scope | None = None

    @classmethod
    def read(cls, path: Path) -> Dataset:
        """Reads a JSON file with exactly the fields above; ``scope`` may be left out.

        Raises:
            UsageError: The file cannot be read or says something else.
        """
        names = [field.name for field in fields(cls)]
        try:
            values = json.loads(path.read_text("utf-8"))
            scope = values.pop("scope", None)
            return cls(**values, scope=None if scope is None else Scope(**scope))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path}: {error}; expected a JSON object with {', '.join(names)}: all text, but scope an object with"
                f" {', '.join(Scope.__struct_fields__)}, all lists"
            ) from error

    def to_json(self) -> dict[str, str]:
        """The manifest's ``data``: all but the scope, which has its own place there."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "scope"}


KERMANY = Dataset(
    name="Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification, version 2",
    licence="CC BY 4.0",
    citation=(
        "Kermany D, Goldbaum M, Cai W, et al. Identifying Medical Diagnoses and Treatable Diseases by Image-Based "
        "Deep Learning. Cell 172(5):1122-1131, 2018. Data: Mendeley Data, doi:10.17632/rscbjbr9sj.2"
    ),
    population="children of 1 to 5 years, one hospital (Guangzhou Women and Children's Medical Center), AP view",
    labelling=(
        "read from the radiograph alone by two physicians, test images also by a third; neither microbiology nor "
        "clinical follow-up stands behind the labels"
    ),
    scope=Scope(ages=[1, 5], views=["AP"], body_parts=["CHEST", "THORAX", "LUNG"]),
)
