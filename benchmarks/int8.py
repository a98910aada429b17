"""int8 against float32: time per batch, same labels and AUROC on the published test folder.

python benchmarks/int8.py [--rounds 30] [--quick]
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from common import alternate, inputs_of, model_for, parser, share, table


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.number("--rounds", 30, quick=1)
    arguments = options.read()
    models = {precision: model_for(arguments, precision=precision).classifier for precision in ("fp32", "int8")}
    files = arguments.data.split("test")
    truth = np.array([file.parent.name == "PNEUMONIA" for file in files])
    inputs = np.stack(inputs_of(files))
    answers = {name: [model.predict(each[None])[0] for each in inputs] for name, model in models.items()}
    labels = {name: np.array([each.label for each in found]) for name, found in answers.items()}
    auroc = {name: roc_auc_score(truth, [each.logodds for each in found]) for name, found in answers.items()}
    rows = []
    for batch in (1, 8, 32):
        part = inputs[:batch]
        seconds = alternate(
            {name: lambda m=model, p=part: m.logodds(p) for name, model in models.items()}, arguments.rounds
        )
        each = {name: 1000 * value / len(part) for name, value in seconds.items()}
        rows.append([batch, f"{each['fp32']:.2f} ms", f"{each['int8']:.2f} ms", f"{each['int8'] / each['fp32']:.2f}"])
    table(["batch", "fp32, per image", "int8, per image", "ratio"], rows)
    same = share(int((labels["fp32"] == labels["int8"]).sum()), len(truth))
    print(f"{same} same labels on {len(truth)} test radiographs; AUROC {auroc['fp32']:.4f} and {auroc['int8']:.4f}")


if __name__ == "__main__":
    main()
