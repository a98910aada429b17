"""What a network was trained on, as its manifest and model card state it."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

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
    """

    name: str
    licence: str
    citation: str
    population: str
    labelling: str

    @classmethod
    def read(cls, path: Path) -> Dataset:
        """Reads a JSON file with exactly the fields above.

        Raises:
            UsageError: The file cannot be read or says something else.
        """
        names = [field.name for field in fields(cls)]
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"{path}: {error}; expected a JSON object with {', '.join(names)}, all text") from error


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
)
