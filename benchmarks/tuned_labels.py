"""Are the labels those of float32 whatever `cxr-edge tune` may choose? On all radiographs at hand.

    python benchmarks/tuned_labels.py [--quick]

Every engine and precision that runs here answers as it would if it had been chosen: what lies within twice the
stated error of a threshold is computed again in float32. The errors were measured on the 290 radiographs of the test
folder. The bar: label and refusal are the same for every radiograph.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np

from common import inputs_of, parser, table
from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import ProviderError
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.results.outcomes import Prediction, refuse
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
                other = sum(told(bundle, one) != told(bundle, two) for one, two in zip(exact, found, strict=True))
                again = sum(each.precision != precision for each in found)
                off = max(abs(one.logodds - two.logodds) for one, two in zip(exact, found, strict=True))
                rows.append([f"{precision} on {provider}", len(found), other, again, f"{off:.2g}"])
    head = ["engine", "radiographs", "other labels or refusals", "computed again in fp32", "log-odds off by at most"]
    table(head, rows)


def told(bundle: Bundle, answer: Prediction) -> str:
    """What a reader is told: a label, or what it is refused as."""
    gate, score = bundle.manifest.gate, answer.gate_score
    refusal = None if gate is None or score is None else refuse(gate, score, answer.scope_score)
    return answer.label if refusal is None else refusal.scope


def answers(classifier: Classifier, files: list[Path]) -> list[Prediction]:
    """Predictions in the same order."""
    starts = range(0, len(files), BATCH)
    return [each for at in starts for each in classifier.predict(np.stack(inputs_of(files[at : at + BATCH])))]


if __name__ == "__main__":
    main()
