"""Shapley values of superpixels with their intervals, and how they came about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.errors import UsageError
from cxr_edge.explanation.lime import SuperpixelExplanation

if TYPE_CHECKING:
    from shap import Explanation


@dataclass(frozen=True, eq=False, kw_only=True)
class ShapExplanation(SuperpixelExplanation):
    """What each superpixel adds to the log-odds, by Shapley's rule.

    The coefficients are the Shapley values. They and the intercept, the log-odds with everything hidden, sum up to the
    log-odds of the picture.
    """

    @property
    def method(self) -> str:
        """``shap``."""
        return "shap"

    def to_shap(self) -> Explanation:
        """Give the explanation as the ``shap`` package's own object: a value for each superpixel, all of them shown.

        Raises:
            UsageError: The package is not installed.
        """
        try:
            from shap import Explanation  # optional, takes seconds to import
        except ImportError as error:
            raise UsageError("the shap package is not installed", cure="run pip install 'cxr-edge[shap]'") from error
        return Explanation(
            values=self.coefficients.copy(),
            base_values=self.estimate.intercept,
            data=np.ones(self.superpixels.count),
            feature_names=[f"superpixel {number}" for number in range(self.superpixels.count)],
        )
