"""Who is compared with whom; every answer is checked against ours before anything is timed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_edge import LimeOptions
from cxr_edge.api import Model
from cxr_edge.explanation.superpixels import segment
from peers.network import Floats
from peers.peer import Peer
from rounds import Ratio, Seconds, take_turns

OURS, TUNED = "cxr-edge", "cxr-edge, tuned"
FAST, REFERENCE = f"{OURS}, fast mode", f"{OURS}, reference mode"
FAST_TUNED = f"{TUNED}, fast mode"


@dataclass(frozen=True)
class Contest:
    """One task.

    Attributes:
        task: What was done.
        ours: The competitor that the ratios are taken against.
        seconds: By competitor.
        agreement: How near each peer's answer is to ours.
        per: Results a run gives.
    """

    task: str
    ours: str
    seconds: Seconds
    agreement: dict[str, str]
    per: int = 1

    def faster(self, peer: str, than: str | None = None) -> Ratio:
        """How many times faster ours is, or another that is named."""
        return Ratio.of(self.seconds, peer, than or self.ours)


def predict(
    model: Model, tuned: Model | None, peers: Sequence[Peer], image: Floats, *, batch: int, rounds: int
) -> Contest:
    """Input pixels to calibrated probabilities, batch by batch; in fp32 and, where there is one, as tuned here."""
    inputs = np.repeat(image[None], batch, axis=0)
    expected = model.classifier.probabilities(inputs)
    runs = {OURS: lambda: [each.probability for each in model.classifier.predict(inputs)]}
    agreement = {}
    if tuned is not None:
        classifier = tuned.classifier
        runs[TUNED] = lambda: [each.probability for each in classifier.predict(inputs)]
        agreement[TUNED] = f"{classifier.precision} on {classifier.session.provider}, labels of fp32"
    for peer in peers:
        if peer.predict is None:
            continue
        difference = float(np.abs(np.asarray(peer.predict(inputs)) - expected).max())
        _hold(peer.name, difference <= peer.tolerance, f"probability differs by {difference:.1e}")
        agreement[peer.name] = f"probability to {difference:.0e}"
        runs[peer.name] = lambda peer=peer: peer.predict(inputs)  # type: ignore[misc]
    task = f"predict, batch {batch}, warm, input to probability"
    return Contest(task, OURS, take_turns(runs, rounds, warm=3), agreement, batch)


def gradcam(model: Model, peers: Sequence[Peer], image: Floats, *, rounds: int) -> Contest:
    """Input pixels to probability and class activation map."""
    explainer, label = model.explainer.gradcam, model.bundle.manifest.positive

    def ours() -> Floats:
        return explainer.explain(model.classifier.predict(image[None])[0].features, label).raw

    expected = ours()
    runs = {OURS: ours}
    agreement = {}
    for peer in peers:
        if peer.gradcam is None:
            continue
        difference = float(np.abs(np.asarray(peer.gradcam(image)) - expected).max() / expected.max())
        _hold(peer.name, difference <= 1e-3, f"map differs by {difference:.1e} of its maximum")
        agreement[peer.name] = f"map to {difference:.0e} of its maximum"
        runs[peer.name] = lambda peer=peer: peer.gradcam(image)  # type: ignore[misc]
    return Contest("predict + Grad-CAM, batch 1, warm", OURS, take_turns(runs, rounds, warm=3), agreement)


def lime(
    model: Model, tuned: Model | None, peers: Sequence[Peer], image: Floats, *, samples: int, rounds: int
) -> Contest:
    """A radiograph explained by LIME on the same superpixels; in fp32 and, where there is one, as tuned here."""
    engine, label = model.explainer.lime, model.bundle.manifest.positive
    regions = segment(image)
    count = min(samples, 60)
    expected = engine.explain(
        image, label, LimeOptions(mode="reference", samples=count, seed=1), regions=regions
    ).coefficients
    runs = {
        FAST: lambda: engine.explain(image, label),
        REFERENCE: lambda: engine.explain(image, label, LimeOptions(mode="reference", samples=samples, seed=1)),
    }
    agreement = {}
    if tuned is not None:
        quick, session = tuned.explainer.lime, tuned.classifier.session
        runs[FAST_TUNED] = lambda: quick.explain(image, label)
        found = quick.explain(image, label).coefficients
        same = np.corrcoef(found, runs[FAST]().coefficients)[0, 1]  # type: ignore[attr-defined]
        how = f"{tuned.classifier.precision} on {session.provider}"
        agreement[FAST_TUNED] = f"{how}, coefficients correlate with those of fp32 by {same:.4f}"
    runs[FAST]()
    for peer in peers:
        if peer.lime is None:
            continue
        found = peer.lime(image, regions, seed=1, samples=count)
        if found is None:
            agreement[peer.name] = "another method: time only"
        else:
            difference = float(np.abs(found - expected).max() / np.abs(expected).max())
            _hold(peer.name, difference <= 1e-3, f"coefficients differ by {difference:.1e} of the largest")
            agreement[peer.name] = f"coefficients to {difference:.0e} of the largest ({count} samples)"
        runs[peer.name] = lambda peer=peer: peer.lime(image, regions, seed=1, samples=samples)  # type: ignore[misc]
    task = f"LIME, {samples} samples, {regions.count} superpixels"
    return Contest(task, FAST, take_turns(runs, rounds, warm=0, lead=0), agreement)


def _hold(name: str, holds: bool, fault: str) -> None:
    if not holds:
        raise SystemExit(f"{name} does not answer as cxr-edge does: {fault}; the comparison would mean nothing")
