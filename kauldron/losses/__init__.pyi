"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.losses._classification import FocalLoss as FocalLoss
from kauldron.losses._classification import GaussianKL as GaussianKL
from kauldron.losses._classification import Hinge as Hinge
from kauldron.losses._classification import KLDivergence as KLDivergence
from kauldron.losses._classification import MulticlassHinge as MulticlassHinge
from kauldron.losses._classification import SigmoidBinaryCrossEntropy as SigmoidBinaryCrossEntropy
from kauldron.losses._classification import SigmoidFocalLoss as SigmoidFocalLoss
from kauldron.losses._classification import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from kauldron.losses._classification import SoftmaxCrossEntropyWithIntLabels as SoftmaxCrossEntropyWithIntLabels
from kauldron.losses._correlation import NormalizedCrossCorrelation as NormalizedCrossCorrelation
from kauldron.losses._embeddings import InfoNCE as InfoNCE
from kauldron.losses._embeddings import NTXent as NTXent
from kauldron.losses._embeddings import PairwiseRanking as PairwiseRanking
from kauldron.losses._embeddings import TripletMargin as TripletMargin
from kauldron.losses._overlap import DiceLoss as DiceLoss
from kauldron.losses._overlap import GeneralizedDiceLoss as GeneralizedDiceLoss
from kauldron.losses._overlap import TotalVariation as TotalVariation
from kauldron.losses._overlap import TverskyLoss as TverskyLoss
from kauldron.losses._regression import AbsoluteValue as AbsoluteValue
from kauldron.losses._regression import CosineDistance as CosineDistance
from kauldron.losses._regression import Huber as Huber
from kauldron.losses._regression import L1 as L1
from kauldron.losses._regression import L2 as L2
from kauldron.losses._regression import NegativeCosineSimilarity as NegativeCosineSimilarity
from kauldron.losses._regression import Value as Value
from kauldron.losses.base import Loss as Loss
from kauldron.losses.base import Window as Window
from kauldron.losses.base import compute_losses as compute_losses
from kauldron.losses.base import total_of as total_of

__all__ = [
    "AbsoluteValue",
    "CosineDistance",
    "DiceLoss",
    "FocalLoss",
    "GaussianKL",
    "GeneralizedDiceLoss",
    "Hinge",
    "Huber",
    "InfoNCE",
    "KLDivergence",
    "L1",
    "L2",
    "Loss",
    "MulticlassHinge",
    "NTXent",
    "NegativeCosineSimilarity",
    "NormalizedCrossCorrelation",
    "PairwiseRanking",
    "SigmoidBinaryCrossEntropy",
    "SigmoidFocalLoss",
    "SoftmaxCrossEntropy",
    "SoftmaxCrossEntropyWithIntLabels",
    "TotalVariation",
    "TripletMargin",
    "TverskyLoss",
    "Value",
    "Window",
    "compute_losses",
    "total_of",
]
