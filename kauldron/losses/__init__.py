"""Losses: metrics with a weighted-mean state, whose values are trained on.

Nothing is imported before it is used.
"""

from __future__ import annotations

from kauldron._base import lazy

_HERE = "kauldron.losses"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Loss": f"{_HERE}.base:Loss",
        "Window": f"{_HERE}.base:Window",
        "compute_losses": f"{_HERE}.base:compute_losses",
        "total_of": f"{_HERE}.base:total_of",
        # Values and differences.
        "AbsoluteValue": f"{_HERE}._regression:AbsoluteValue",
        "CosineDistance": f"{_HERE}._regression:CosineDistance",
        "Huber": f"{_HERE}._regression:Huber",
        "L1": f"{_HERE}._regression:L1",
        "L2": f"{_HERE}._regression:L2",
        "NegativeCosineSimilarity": f"{_HERE}._regression:NegativeCosineSimilarity",
        "Value": f"{_HERE}._regression:Value",
        # Classes.
        "FocalLoss": f"{_HERE}._classification:FocalLoss",
        "GaussianKL": f"{_HERE}._classification:GaussianKL",
        "Hinge": f"{_HERE}._classification:Hinge",
        "KLDivergence": f"{_HERE}._classification:KLDivergence",
        "MulticlassHinge": f"{_HERE}._classification:MulticlassHinge",
        "SigmoidBinaryCrossEntropy": f"{_HERE}._classification:SigmoidBinaryCrossEntropy",
        "SigmoidFocalLoss": f"{_HERE}._classification:SigmoidFocalLoss",
        "SoftmaxCrossEntropy": f"{_HERE}._classification:SoftmaxCrossEntropy",
        "SoftmaxCrossEntropyWithIntLabels": f"{_HERE}._classification:SoftmaxCrossEntropyWithIntLabels",
        # Embeddings and rankings.
        "InfoNCE": f"{_HERE}._embeddings:InfoNCE",
        "NTXent": f"{_HERE}._embeddings:NTXent",
        "PairwiseRanking": f"{_HERE}._embeddings:PairwiseRanking",
        "TripletMargin": f"{_HERE}._embeddings:TripletMargin",
        # Regions and images.
        "DiceLoss": f"{_HERE}._overlap:DiceLoss",
        "GeneralizedDiceLoss": f"{_HERE}._overlap:GeneralizedDiceLoss",
        "NormalizedCrossCorrelation": f"{_HERE}._correlation:NormalizedCrossCorrelation",
        "TotalVariation": f"{_HERE}._overlap:TotalVariation",
        "TverskyLoss": f"{_HERE}._overlap:TverskyLoss",
    },
)
