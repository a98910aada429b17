"""Recipes: every choice of a training in one place, so that one is easy to change and another easy to add."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from cxr_edge.errors import UsageError
from cxr_train.augmentation import Augmentation
from cxr_train.network import FROZEN_THROUGH


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training images.
        batch: Images per step.
        learning_rate: Highest rate of Adam.
        schedule: ``cosine`` (one epoch of warm-up, then half a cosine to zero) or ``plateau`` (a fifth of the rate
            after two epochs without a better validation loss).
        decay: Inverse-time decay of the rate per step.
        weight_decay: Decoupled weight decay (Loshchilov and Hutter 2019).
        clip_norm: Gradients are scaled down to this global norm; 0 leaves them.
        average: What a step keeps of the running mean of the weights (Polyak and Juditsky 1992), which is what is
            validated and kept; 0 keeps the weights themselves.
        frozen_through: The layer up to which ImageNet's MobileNet stays as it is; None trains all of it.
        batch_statistics: Batch normalisation uses the batch's statistics while training; False keeps ImageNet's.
        class_weights: Both classes weigh the same in the loss, however many images each has.
        label_smoothing: Share of the target spread evenly over the classes.
        l2: Weight of the hidden layer's squared norm.
        dropout: Share of hidden units dropped.
        segmentation: Weight of the auxiliary loss that has the features outline the lungs (dropped at export).
        attribution: Weight of the penalty on class activation outside the lungs.
        augmentation: What is varied.
    """

    epochs: int
    batch: int = 32
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    decay: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    average: float = 0.0
    frozen_through: str | None = FROZEN_THROUGH
    batch_statistics: bool = False
    class_weights: bool = True
    label_smoothing: float = 0.0
    l2: float = 1e-4
    dropout: float = 0.3
    segmentation: float = 0.0
    attribution: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def to_json(self) -> dict[str, Any]:
        """The choices as plain JSON values."""
        return asdict(self)


STUDY = Recipe(
    epochs=12,
    learning_rate=1e-3,
    schedule="plateau",
    decay=1e-4,
    batch_statistics=True,
    class_weights=False,
    l2=1e-2,
    dropout=0.5,
)

DEFAULT = Recipe(
    epochs=16,
    learning_rate=2e-4,
    weight_decay=1e-4,
    clip_norm=1.0,
    average=0.995,
    frozen_through="conv_dw_4_relu",
    label_smoothing=0.05,
    segmentation=0.3,
    attribution=1.0,
    augmentation=Augmentation(
        rotation=12,
        scale=0.15,
        shift=0.08,
        flip=0.5,
        background=0.5,
        exposure=0.75,
        equalise=0.15,
        detail=0.3,
        resolution=0.4,
        blur=0.4,
        jpeg=0.15,
        noise=0.45,
        markers=0.3,
        borders=0.45,
        erase=0.2,
    ),
)

RECIPES = {"default": DEFAULT, "study": STUDY}


def recipe_named(name: str) -> Recipe:
    """Looks a recipe up.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}: choose from {', '.join(RECIPES)}")
    return RECIPES[name]
