"""Metrics: `get_state` inside jit, `merge` anywhere, `compute` on the host."""

from __future__ import annotations

from kauldron._base import public
from kauldron.metrics import image, networks
from kauldron.metrics._bootstrap import Bootstrap
from kauldron.metrics._calibration import CalibrationError
from kauldron.metrics._classification import (
    Accuracy,
    BinaryAccuracy,
    Precision1,
    TopKAccuracy,
)
from kauldron.metrics._clustering import Ari
from kauldron.metrics._confusion import (
    F1,
    ConfusionMatrix,
    Dice,
    MeanIou,
    Precision,
    Recall,
)
from kauldron.metrics._features import (
    CovarianceState,
    FrechetDistance,
    frechet_distance,
)
from kauldron.metrics._images import Psnr, Ssim
from kauldron.metrics._language import BitsPerByte, Perplexity
from kauldron.metrics._metric import NotAStateError
from kauldron.metrics._norm import GlobalNorm, Norm
from kauldron.metrics._perceptual import Fid, LpipsVgg
from kauldron.metrics._ranking import PrAuc, RocAuc
from kauldron.metrics._regression import (
    ExplainedVariance,
    MeanAbsoluteError,
    MeanSquaredError,
    MomentsState,
    R2Score,
    RootMeanSquaredError,
    SingleDimension,
    Std,
)
from kauldron.metrics._slicing import SliceBy
from kauldron.metrics._text_scores import (
    Bleu,
    CharErrorRate,
    EditDistance,
    Rouge,
    WordErrorRate,
)
from kauldron.metrics._texts import TextMetric, TextState
from kauldron.metrics._throughput import PerStep, Throughput
from kauldron.metrics.auto_state import (
    AutoState,
    concat_field,
    max_field,
    min_field,
    state_field,
    static_field,
    sum_field,
    truncate_field,
)
from kauldron.metrics.base import (
    Metric,
    NoopMetric,
    SkipIfMissing,
    TreeMap,
    TreeReduce,
    TreeState,
)
from kauldron.metrics.base_state import (
    AverageState,
    CollectFirstState,
    CollectingState,
    EmptyState,
    State,
)
from kauldron.metrics.class_ids import LabelError, check_labels

__all__ = [
    # The protocol.
    "Metric",
    "State",
    # Class ids.
    "LabelError",
    "NotAStateError",
    "check_labels",
    # States.
    "AutoState",
    "AverageState",
    "CollectFirstState",
    "CollectingState",
    "CovarianceState",
    "EmptyState",
    "MomentsState",
    "TreeState",
    "concat_field",
    "max_field",
    "min_field",
    "state_field",
    "static_field",
    "sum_field",
    "truncate_field",
    # Wrappers.
    "Bootstrap",
    "NoopMetric",
    "SkipIfMissing",
    "SliceBy",
    "TreeMap",
    "TreeReduce",
    # Classes.
    "Accuracy",
    "BinaryAccuracy",
    "CalibrationError",
    "ConfusionMatrix",
    "F1",
    "PrAuc",
    "Precision",
    "Precision1",
    "Recall",
    "RocAuc",
    "TopKAccuracy",
    # Regions.
    "Ari",
    "Dice",
    "MeanIou",
    # Values.
    "ExplainedVariance",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "GlobalNorm",
    "Norm",
    "R2Score",
    "RootMeanSquaredError",
    "SingleDimension",
    "Std",
    # Features and images.
    "Fid",
    "FrechetDistance",
    "frechet_distance",
    "LpipsVgg",
    "Psnr",
    "Ssim",
    "image",
    "networks",
    # Language.
    "BitsPerByte",
    "Bleu",
    "CharErrorRate",
    "EditDistance",
    "Perplexity",
    "Rouge",
    "TextMetric",
    "TextState",
    "WordErrorRate",
    # Speed.
    "PerStep",
    "Throughput",
]

__dir__ = public.publish(__name__)
