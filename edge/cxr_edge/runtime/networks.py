"""The networks of a bundle, each opened in one way and checked against what the manifest says."""

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import BundleError
from cxr_edge.runtime.providers import BF16, Provider
from cxr_edge.runtime.sessions import Session, Shape, open_session

GRADCAM_FILE = "gradcam.onnx"
DESCRIPTOR = "descriptor"
"""The output of a classifier that the gate looks at, float32 [N, D]."""
ELSEWHERE = "elsewhere"
"""The output of a gate that tells the scope: log-odds of coming from elsewhere, float32 [N]."""
LAYERCAM, HIRESCAM = "layercam", "hirescam"
"""The outputs that `open_layercam` adds to a classifier's."""


def open_classifier(
    bundle: Bundle,
    precision: str = "fp32",
    *,
    descriptor: bool = False,
    provider: Provider = "auto",
    threads: int | None = None,
    spinning: bool = True,
) -> Session:
    """Open the classifier of a precision: pixels → logodds, probability, features and perhaps a descriptor.

    Args:
        bundle: An opened bundle.
        precision: One of the bundle's precisions.
        descriptor: Whether the gate's descriptor is needed.
        provider: See `open_session`.
        threads: See `open_session`.
        spinning: See `open_session`.

    Raises:
        BundleError: The network does not fit the manifest, or see `open_session`.
        ProviderError: See `open_session`.
    """
    manifest = bundle.manifest
    network = bundle.network(manifest.precisions["fp32" if precision == BF16 else precision].file)
    session = open_session(
        network, provider=provider, threads=threads, spinning=spinning, cached=True, bf16=precision == BF16
    )
    if descriptor and DESCRIPTOR not in {output.name for output in session.inference.get_outputs()}:
        raise BundleError(
            f"the {precision} network gives the gate no {DESCRIPTOR}",
            cure="run cxr-export gate again, or answer without it (--no-gate)",
            path=bundle.folder,
        )
    outputs: dict[str, Shape] = {"logodds": (None,), "probability": (None,), "features": manifest.feature_shape}
    session.check({"pixels": manifest.input_shape}, outputs)
    return session


def open_gate(bundle: Bundle) -> Session:
    """Open the gate: descriptor → score, and elsewhere where it tells whose radiograph it is.

    It runs on one thread of the CPU: it is tiny, and a second pool would get in the classifier's way.

    Raises:
        BundleError: The bundle has none, or it does not fit.
    """
    spec = bundle.manifest.gate
    if spec is None:
        raise BundleError("the bundle has no gate", cure="add one with cxr-export gate", path=bundle.folder)
    session = open_session(bundle.network(spec.file), provider="cpu", threads=1)
    session.check({DESCRIPTOR: (None, None)}, dict.fromkeys(gate_outputs(bundle), (None,)))
    return session


def gate_outputs(bundle: Bundle) -> list[str]:
    """Name the outputs of a bundle's gate."""
    gate = bundle.manifest.gate
    return ["score", *([ELSEWHERE] if gate and gate.scope else [])]


def open_gradcam(bundle: Bundle) -> Session:
    """Open the head with its gradient: features and target → gradients and map.

    It runs on one thread of the CPU, as the gate does; and OpenVINO 2026.4 repeats its gradients in the wrong order.

    Raises:
        BundleError: The bundle has none, or it does not fit.
    """
    shape = bundle.manifest.feature_shape
    session = open_session(bundle.network(GRADCAM_FILE), provider="cpu", threads=1)
    session.check({"features": shape, "target": (None,)}, {"gradients": shape, "map": shape[:3]})
    return session


def open_layercam(bundle: Bundle, *, provider: Provider = "auto", threads: int | None = None) -> Session:
    """Open the fp32 classifier with LayerCAM behind it: pixels → what the classifier gives, layercam and hirescam.

    It takes one radiograph at a time.

    LayerCAM's file holds no weights: its nodes take activations and kernels from the classifier by name. Protocol
    Buffers read two messages one behind the other as one ("Encoding", "Last One Wins"), so that the two files, one
    behind the other, are one network.

    With P the cells of all layers, one layer behind the other, row by row: ``layercam`` is float32 [1, 2, P], for the
    negative and the positive label; ``hirescam`` is float32 [1, P], for the positive one.

    Args:
        bundle: An opened bundle.
        provider: See `open_session`.
        threads: See `open_session`.

    Raises:
        BundleError: The bundle has none, or it does not fit.
        ProviderError: See `open_session`.
    """
    spec = bundle.manifest.layercam
    if spec is None:
        raise BundleError("the bundle has no LayerCAM", cure="add it with cxr-export layercam", path=bundle.folder)
    network = bundle.model(bundle.manifest.precisions["fp32"].file) + bundle.model(spec.file)
    session = open_session(network, provider=provider, threads=threads, single=True)
    cells = sum(layer.height * layer.width for layer in spec.layers)
    pixels = (1, *bundle.manifest.input_shape[1:])
    session.check({"pixels": pixels}, {LAYERCAM: (1, 2, cells), HIRESCAM: (1, cells)})
    return session


def open_lungs(bundle: Bundle, *, provider: Provider = "auto", threads: int | None = None) -> Session:
    """Open the lung segmenter: pixels → lungs.

    Args:
        bundle: An opened bundle.
        provider: See `open_session`.
        threads: See `open_session`.

    Raises:
        BundleError: The bundle has none, or it does not fit.
        ProviderError: See `open_session`.
    """
    spec = bundle.manifest.lungs
    if spec is None:
        raise BundleError("has nothing that outlines lungs", cure="add it with cxr-export lungs", path=bundle.folder)
    session = open_session(bundle.network(spec.file), provider=provider, threads=threads)
    session.check({"pixels": bundle.manifest.input_shape}, {"lungs": (None, None, None)})
    return session
