"""Do the providers start, is the bundle what was made, and do they answer together as Keras did?"""

import base64
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_edge.doctor.finding import Finding, Status
from cxr_edge.errors import BundleError, CxrEdgeError, ProviderError
from cxr_edge.runtime.providers import ACCELERATORS, Obstacle, Provider, Started, has_nvidia_driver

if TYPE_CHECKING:
    from cxr_edge.bundle.bundle import Bundle
    from cxr_edge.runtime.sessions import Session

PROVIDERS = "providers"
_BUNDLE = "bundle"
# y = x * w: one convolution, so that a GPU needs all of its libraries. float32 [N, 1, 2, 2] each.
PROBE = base64.b64decode(
    "CAg6aQoPCgF4CgF3EgF5IgRDb252EgVwcm9iZSoTCAEIAQgBCAEQASIEAACAP0IBd1ocCgF4EhcKFQ"
    "gBEhEKAxIBTgoCCAEKAggCCgIIAmIcCgF5EhcKFQgBEhEKAxIBTgoCCAEKAggCCgIIAkIECgAQEQ=="
)


def examine_providers(asked: Provider) -> Iterator[Finding]:
    """Start every provider that this ONNX Runtime has, on a network of one convolution.

    Args:
        asked: The one that has to start; ``auto`` means all that are built in.
    """
    try:
        from cxr_edge.runtime import sessions
        from cxr_edge.runtime.sessions import onnxruntime
    except (CxrEdgeError, ImportError):
        yield Finding(PROVIDERS, "cpu", "note", "not started: there is no ONNX Runtime that can be imported")
        return
    built_in = onnxruntime.get_available_providers()
    try:
        _run(sessions.open_session(PROBE, provider="cpu", threads=1))
        yield Finding(PROVIDERS, "cpu", "ok", "starts and computes", {"built_in": True, "starts": True})
    except Exception as error:  # noqa: BLE001  # ONNX Runtime's own exception types share no base
        summary, facts = f"does not compute ({error})", {"built_in": True, "starts": False}
        yield Finding(PROVIDERS, "cpu", "fault", summary, facts, (), ProviderError.exit_code)
    for word, accelerator in ACCELERATORS.items():
        there = accelerator.provider in built_in
        wanted = asked == word or (asked == "auto" and there)
        facts = {"built_in": there, "starts": False}
        cure: tuple[str, ...] = ()
        started = sessions.start(PROBE, accelerator, threads=1)
        if isinstance(started, Obstacle):
            summary = started.reason
            cure = started.cure if there or wanted else ()
            if word == "cuda" and not there and has_nvidia_driver():
                summary, cure = f"{summary}, though an NVIDIA driver is here", started.cure
            if wanted and asked == "auto":
                cure = (*cure, "or, if the CPU is what you want: cxr-edge doctor --provider cpu")
            status: Status = "fault" if wanted else "note"
            yield Finding(PROVIDERS, word, status, summary, facts, cure, ProviderError.exit_code if wanted else 0)
            continue
        try:
            _run(started)
            yield Finding(PROVIDERS, word, "ok", "starts and computes", {**facts, "starts": True})
        except CxrEdgeError as error:
            code = ProviderError.exit_code if wanted else 0
            yield Finding(PROVIDERS, word, "fault" if wanted else "note", str(error), facts, cure, code)


def examine_bundle(folder: Path | None, providers: list[Started]) -> Iterator[Finding]:
    """Check a bundle's hashes, and its answers on every provider that starts against those that Keras gave.

    Args:
        folder: The bundle; None takes the installed one.
        providers: What starts.
    """
    from cxr_edge.bundle.bundle import Bundle

    try:
        bundle = Bundle.open(folder)
    except BundleError as error:
        yield Finding.of(error, area=_BUNDLE, name="files", cure=("reinstall cxr-edge, or export the bundle again",))
        return
    manifest = bundle.manifest
    summary = f"{manifest.name} {manifest.version}: {len(manifest.files)} files as made ({bundle.digest[:12]})"
    yield Finding(_BUNDLE, "files", "ok", summary, {"folder": str(bundle.folder), **bundle.to_json()})
    for provider in providers:
        yield _self_test(bundle, provider)
    if providers:
        yield _tuning(bundle)
    if not providers:
        yield Finding(_BUNDLE, "self-test", "note", "not made: no provider starts")


def _self_test(bundle: "Bundle", provider: Provider) -> Finding:
    from cxr_edge.runtime.self_test import self_test

    name = f"self-test on {provider}"
    try:
        report = self_test(bundle, provider=provider)
    except CxrEdgeError as error:
        return Finding.of(error, area=_BUNDLE, name=name)
    # JSON knows no NaN, and that is what a network may answer.
    finite = {output: value if math.isfinite(value) else None for output, value in report.differences.items()}
    facts = {**report.to_json(), "differences": finite}
    if report.faults:
        # Where the CPU answers right and another provider does not, it is the provider that has to be mended.
        code = BundleError.exit_code if provider == "cpu" else ProviderError.exit_code
        cure = ("reinstall ONNX Runtime, or export the bundle again",)
        return Finding(_BUNDLE, name, "fault", "; ".join(report.faults), facts, cure, code)
    worst = max(report.differences.values())
    summary = f"{report.questions} answers are those of Keras, to {worst:.1g} (allowed {report.tolerance:g})"
    return Finding(_BUNDLE, name, "ok", summary, facts)


def _tuning(bundle: "Bundle") -> Finding:
    from cxr_edge.runtime.tuning import read_tuning

    stored = read_tuning(bundle)
    if stored.tuning is None:
        summary = f"{stored.reason}: auto is fp32"
        return Finding(_BUNDLE, "tuned choice", "note", summary, {"reason": stored.reason}, ("cxr-edge tune",))
    engines = stored.tuning.engines
    summary = "; ".join(f"{use}: {engine}" for use, engine in engines.items())
    facts = {"engines": {use: each.to_json() for use, each in engines.items()}, "created": stored.tuning.created}
    return Finding(_BUNDLE, "tuned choice", "ok", summary, facts)


def _run(session: "Session") -> None:
    import numpy as np

    session.run({"x": np.ones((1, 1, 2, 2), np.float32)}, ["y"])
