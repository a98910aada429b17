"""Are the labels those of float32 whatever `cxr-edge tune` may choose? On all radiographs at hand.

    python benchmarks/tuned_labels.py [--quick]

Every engine and precision that runs here answers as it would if it had been chosen: what lies within twice the
stated error of a threshold is computed again in float32. The errors were measured on the 290 radiographs of the test
folder. The bar: label and refusal are the same for every radiograph.
"""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import inputs_of, parser, table
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import ProviderError
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.results.outcomes import refuse
from cxr_edge.runtime.providers import BF16, Provider

ENGINES: tuple[Provider, ...] = ("cpu", "openvino")
FOLDERS = ("kermany224", "originals", "nih224", "strangers224")
BATCH = 16


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__).read()
    root = arguments.data.radiographs.parent
    folders = [arguments.data.radiographs] if arguments.quick else [root / name for name in FOLDERS]
    files = sorted(path for each in folders for path in each.rglob("*.*") if path.suffix in {".jpeg", ".jpg", ".png"})
    bundle = Bundle.open(arguments.bundle)
    exact = answers(Classifier(bundle, provider="cpu"), files)
    rows = []
    for precision in dict.fromkeys((*bundle.manifest.precisions, BF16)):
        for provider in ENGINES:
            with suppress(ProviderError):
                found = answers(Classifier(bundle, provider=provider, precision=precision, exact_labels=True), files)
                pairs = list(zip(exact, found, strict=True))
                other = sum(one.told != two.told for one, two in pairs)
                again = sum(each.precision != precision for each in found)
                off = max(abs(one.logodds - two.logodds) for one, two in pairs)
                rows.append([f"{precision} on {provider}", len(found), other, again, f"{off:.2g}"])
    head = ["engine", "radiographs", "other labels or refusals", "computed again in fp32", "log-odds off by at most"]
    table(head, rows)


class Told(NamedTuple):
    """What is kept of an answer: its label or what it is refused as, its log-odds, and the precision that it is of."""

    told: str
    logodds: float
    precision: str


def answers(classifier: Classifier, files: list[Path]) -> list[Told]:
    """Answers in the same order."""
    found: list[Told] = []
    for start in range(0, len(files), BATCH):
        for each in classifier.predict(np.stack(inputs_of(files[start : start + BATCH]))):
            gate, score = classifier.bundle.manifest.gate, each.gate_score
            refusal = None if gate is None or score is None else refuse(gate, score, each.scope_score)
            told = each.label if refusal is None else refusal.scope
            found.append(Told(told, each.logodds, each.precision))
    return found


if __name__ == "__main__":
    main()
