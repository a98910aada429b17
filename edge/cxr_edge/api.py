"""The Python interface: load a bundle once, ask it about radiographs.

Importing this module is quick: what is large is imported by `load`, side by side with the hashing of the bundle.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cxr_edge.bundle.bundle import Bundle
from cxr_edge.errors import InputError
from cxr_edge.text import printable, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cxr_edge.explanation import CamMethod, LimeOptions, Method
    from cxr_edge.explanation.explainer import Explainer, Explanation
    from cxr_edge.prediction.classifier import Classifier
    from cxr_edge.reading.radiograph import Radiograph
    from cxr_edge.results.outcomes import Answer, Prediction
    from cxr_edge.runtime.providers import Provider
    from cxr_edge.runtime.tuning import Use


class Model:
    """A loaded bundle; `load` makes one.

    Attributes:
        bundle: The opened bundle.
        classifier: Its network at one operating point.
        test_time_augmentation: Whether every answer says how far small changes move it.
        batch_size: Radiographs in a run that were measured to be quickest; None where nothing was measured.

    Args:
        classifier: The network that answers.
        test_time_augmentation: See `load`.
        batch_size: See above.
    """

    def __init__(
        self, classifier: "Classifier", *, test_time_augmentation: bool = False, batch_size: int | None = None
    ) -> None:
        self.bundle = classifier.bundle
        self.classifier = classifier
        self.test_time_augmentation = test_time_augmentation
        self.batch_size = batch_size

    def predict(self, source: "str | os.PathLike[str] | bytes | NDArray[Any] | Radiograph") -> "Answer":
        """Answer one radiograph.

        Args:
            source: A path, the bytes of a file, an array (see `read_radiograph`) or a radiograph.

        Returns:
            The answer with its label, calibrated probability and warnings; with a refusal if it is no chest radiograph.

        Raises:
            InputError: The source is no radiograph that can be answered.
        """
        from cxr_edge.reading.decode import read_radiograph
        from cxr_edge.reading.radiograph import Radiograph

        (answer,) = self.predict_batch([source if isinstance(source, Radiograph) else read_radiograph(source)])
        if isinstance(answer, InputError):
            raise answer
        return answer

    def predict_batch(self, radiographs: "Sequence[Radiograph]") -> "tuple[Answer | InputError, ...]":
        """Answer several radiographs in one run of the network.

        On some machines a radiograph's last digits depend on how many others run with it.

        Args:
            radiographs: At least one.

        Returns:
            The answers in the same order; an error, not raised, in the place of a radiograph for which the network
            gives no finite number. The others are answered all the same.
        """
        import numpy as np

        from cxr_edge.prediction.preprocess import to_input

        spec = self.bundle.manifest.input
        inputs = np.stack([to_input(each, height=spec.height, width=spec.width) for each in radiographs])
        predictions = self.classifier.predict(inputs)
        return tuple(self._outcome(*each) for each in zip(radiographs, predictions, strict=True))

    def _outcome(self, radiograph: "Radiograph", prediction: "Prediction") -> "Answer | InputError":
        from cxr_edge.prediction.gate import scope_warnings
        from cxr_edge.results.outcomes import Answer

        if not prediction.is_finite:
            return _not_finite(radiograph, prediction.input)
        warnings = scope_warnings(radiograph.source, self.bundle.manifest.scope)
        answer = Answer(radiograph, prediction, self.bundle, warnings)
        if not self.test_time_augmentation or answer.refusal:
            return answer
        from cxr_edge.prediction.variants import spread

        return replace(answer, spread=spread(self.classifier, prediction.input, prediction))

    def explain(
        self,
        source: "str | os.PathLike[str] | bytes | NDArray[Any] | Radiograph",
        *,
        method: "Method" = "both",
        target: str = "predicted",
        cam: "CamMethod" = "gradcam",
        lime: "LimeOptions | None" = None,
    ) -> "Explanation":
        """Answer one radiograph, say where the network looked, and what it would say without these places.

        Args:
            source: As for `predict`.
            method: ``gradcam``, ``lime``, ``both`` of them, ``shap`` or ``all`` three.
            target: The label to explain, in any case, or ``predicted``.
            cam: ``gradcam``, ``hirescam``, ``gradcam++`` or ``layercam``.
            lime: How LIME and Shapley values are to run; None means the defaults.

        Returns:
            The answer with its maps; `draw` draws them.

        Raises:
            InputError: The source is no radiograph that can be answered, or no chest radiograph.
            UsageError: An unknown method, map or label; the source was not read.
            BundleError: The bundle cannot explain.
        """
        self.explainer.check(method=method, target=target, cam=cam)
        answering = self
        if not self.test_time_augmentation:  # that answers many times, and maps once
            answering = Model(self.explainer.classifier_for(method, cam), batch_size=self.batch_size)
        answer = answering.predict(source)
        return self.explainer.explain(answer, method=method, target=target, cam=cam, lime=lime, hiding=True)

    @cached_property
    def explainer(self) -> "Explainer":
        """What explains this model's answers, loaded when it is first asked for."""
        from cxr_edge.explanation.explainer import Explainer  # predicting does not pay for explaining

        return Explainer(self.classifier)


def load(
    bundle: str | os.PathLike[str] | None = None,
    *,
    provider: "Provider" = "auto",
    threads: int | None = None,
    precision: str = "auto",
    operating_point: str | None = None,
    unsure: bool = True,
    prevalence: float | None = None,
    test_time_augmentation: bool = False,
    gate: bool = True,
    spinning: bool = True,
    exact_labels: bool | None = None,
    use: "Use" = "single",
    count: int | None = None,
) -> Model:
    """Load a bundle.

    Args:
        bundle: Its folder; None takes the one that comes with the package.
        provider: See `open_session`.
        threads: Threads for one inference; None takes every core this process may use.
        precision: ``fp32``; ``int8`` where the bundle has it; ``bf16`` where the processor and OpenVINO do; ``auto``
            takes what ``cxr-edge tune`` chose for this machine, and fp32 where nothing was chosen.
        operating_point: Name of a threshold in the bundle; None takes its default.
        unsure: Whether ``UNSURE`` is an answer between the two thresholds; False decides for the nearer one.
        prevalence: The share of the positive label among the patients at hand, between 0 and 1: probabilities are
            re-weighed to it, labels stay. None leaves the prevalence that the bundle states.
        test_time_augmentation: Whether every answer carries its `Spread` over thirteen small changes of the input;
            an answer then costs about fourteen times as much.
        gate: Whether what is no chest radiograph is refused, where the bundle can tell.
        spinning: See `open_session`.
        exact_labels: Whether an answer whose label fp32 could turn is computed again in fp32; None does so where
            ``auto`` chose another precision.
        use: What ``auto`` looks for: see `cxr_edge.runtime.tuning.Use`.
        count: How many radiographs will be answered, if that is known: see `choose`.

    Returns:
        The model, ready to predict.

    Raises:
        BundleError: The bundle is missing or was changed.
        ProviderError: The provider was asked for and does not start.
        UsageError: The bundle has no such precision or operating point, ``threads`` or ``prevalence`` is out of
            bounds, or the bundle does not state the prevalence that it was calibrated at.
    """
    with ThreadPoolExecutor(2) as pool:
        # Hashing the bundle and loading the network need no interpreter: the libraries are imported meanwhile.
        opening = pool.submit(Bundle.open, bundle)
        from cxr_edge.prediction.classifier import Classifier  # with NumPy and ONNX Runtime
        from cxr_edge.runtime.tuning import choose

        def open_chosen() -> Model:
            found = opening.result()
            choice = choose(found, provider=provider, precision=precision, threads=threads, use=use, count=count)
            classifier = Classifier(
                found,
                provider=choice.provider,
                threads=choice.threads,
                precision=choice.precision,
                operating_point=operating_point,
                unsure=unsure,
                prevalence=prevalence,
                gate=gate,
                spinning=spinning,
                exact_labels=choice.exact_labels if exact_labels is None else exact_labels,
                reason=choice.reason,
            )
            say(printable(f"loaded: {found.folder}, {classifier.precision} on {classifier.session.provider}"), "debug")
            return Model(classifier, test_time_augmentation=test_time_augmentation, batch_size=choice.batch_size)

        loading = pool.submit(open_chosen)
        for module in ("reading.decode", "prediction.preprocess", "prediction.gate"):  # with OpenCV
            import_module(f"cxr_edge.{module}")
        return loading.result()


def _not_finite(radiograph: "Radiograph", image: "NDArray[np.float32]") -> InputError:
    import numpy as np

    grey = "grey levels of it are no finite numbers"
    cause = "the network gives no finite number for it" if np.isfinite(image).all() else grey
    return InputError(cause, kind="not-finite", cure="check how it was stored", path=radiograph.source.path)
