"""int8 against float32: time per batch, same labels and AUROC on the published test folder.

python benchmarks/int8.py [--rounds 30]
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from common import alternate, inputs_of, parser, table
from cxr_edge.api import load

LABELS = ("NORMAL", "PNEUMONIA")


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=30)
    arguments = options.parse_args()
    models = {
        precision: load(arguments.bundle, provider="cpu", threads=arguments.threads, precision=precision).classifier
        for precision in ("fp32", "int8")
    }
    files = [sorted((arguments.data / "kermany224" / "test" / label).iterdir()) for label in LABELS]
    truth = np.repeat([0, 1], [len(each) for each in files])
    inputs = np.stack(inputs_of([*files[0], *files[1]]))
    answers = {name: [model.predict(each[None])[0] for each in inputs] for name, model in models.items()}
    labels = {name: np.array([each.label for each in found]) for name, found in answers.items()}
    auroc = {name: roc_auc_score(truth, [each.logodds for each in found]) for name, found in answers.items()}
    rows = []
    for batch in (1, 8, 32):
        part = inputs[:batch]
        seconds = alternate(
            {name: lambda m=model, p=part: m.logodds(p) for name, model in models.items()}, arguments.rounds
        )
        each = {name: 1000 * value / batch for name, value in seconds.items()}
        rows.append([batch, f"{each['fp32']:.2f} ms", f"{each['int8']:.2f} ms", f"{each['int8'] / each['fp32']:.2f}"])
    table(["batch", "fp32, per image", "int8, per image", "ratio"], rows)
    same = (labels["fp32"] == labels["int8"]).mean()
    print(f"{same:.2%} same labels on {len(truth)} test radiographs; AUROC {auroc['fp32']:.4f} and {auroc['int8']:.4f}")


if __name__ == "__main__":
    main()
