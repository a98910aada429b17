"""Reference mode against the `lime` package: same superpixels, seed and samples, largest difference of a coefficient.

python benchmarks/lime_exact.py [--radiographs 5] [--samples 1000]
"""

import numpy as np
from numpy.typing import NDArray

from common import engine, inputs_of, model_for, package_lime, parser, table
from common import test_files as choose_files
from cxr_edge.explanation.options import LimeOptions


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--radiographs", type=int, default=5)
    options.add_argument("--samples", type=int, default=1000)
    arguments = options.parse_args()
    model = model_for(arguments)
    lime = engine(model)

    def network(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return model.classifier.session.run({"pixels": inputs}, ["probability"])[0]

    rows = []
    for file in choose_files(arguments.data, arguments.radiographs):
        (image,) = inputs_of([file])
        ours = lime.explain(image, "PNEUMONIA", LimeOptions(mode="reference", samples=arguments.samples, seed=7))
        package = package_lime(network, image, ours.superpixels, seed=7, samples=arguments.samples)
        rows.append([file.name, f"{np.abs(package).max():.4f}", f"{np.abs(ours.coefficients - package).max():.1e}"])
    table(["test radiograph", "largest coefficient", "largest difference"], rows)


if __name__ == "__main__":
    main()
