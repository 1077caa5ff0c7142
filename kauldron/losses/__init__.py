"""Losses: metrics with a weighted-mean state, whose values are trained on."""

from __future__ import annotations

from kauldron._base import public
from kauldron.losses._classification import (
    FocalLoss,
    GaussianKL,
    Hinge,
    KLDivergence,
    MulticlassHinge,
    SigmoidBinaryCrossEntropy,
    SigmoidFocalLoss,
    SoftmaxCrossEntropy,
    SoftmaxCrossEntropyWithIntLabels,
)
from kauldron.losses._correlation import NormalizedCrossCorrelation
from kauldron.losses._embeddings import (
    InfoNCE,
    NTXent,
    PairwiseRanking,
    TripletMargin,
)
from kauldron.losses._overlap import (
    DiceLoss,
    GeneralizedDiceLoss,
    TotalVariation,
    TverskyLoss,
)
from kauldron.losses._regression import (
    L1,
    L2,
    AbsoluteValue,
    CosineDistance,
    Huber,
    NegativeCosineSimilarity,
    Value,
)
from kauldron.losses.base import Loss, Window, compute_losses, total_of

__all__ = [
    "Loss",
    "Window",
    "compute_losses",
    "total_of",
    # Values and differences.
    "AbsoluteValue",
    "CosineDistance",
    "Huber",
    "L1",
    "L2",
    "NegativeCosineSimilarity",
    "Value",
    # Classes.
    "FocalLoss",
    "GaussianKL",
    "Hinge",
    "KLDivergence",
    "MulticlassHinge",
    "SigmoidBinaryCrossEntropy",
    "SigmoidFocalLoss",
    "SoftmaxCrossEntropy",
    "SoftmaxCrossEntropyWithIntLabels",
    # Embeddings and rankings.
    "InfoNCE",
    "NTXent",
    "PairwiseRanking",
    "TripletMargin",
    # Regions and images.
    "DiceLoss",
    "GeneralizedDiceLoss",
    "NormalizedCrossCorrelation",
    "TotalVariation",
    "TverskyLoss",
]

__dir__ = public.publish(__name__)
