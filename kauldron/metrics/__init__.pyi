"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.metrics import image as image
from kauldron.metrics import networks as networks
from kauldron.metrics._bootstrap import Bootstrap as Bootstrap
from kauldron.metrics._calibration import CalibrationError as CalibrationError
from kauldron.metrics._classification import Accuracy as Accuracy
from kauldron.metrics._classification import BinaryAccuracy as BinaryAccuracy
from kauldron.metrics._classification import Precision1 as Precision1
from kauldron.metrics._classification import TopKAccuracy as TopKAccuracy
from kauldron.metrics._clustering import Ari as Ari
from kauldron.metrics._confusion import ConfusionMatrix as ConfusionMatrix
from kauldron.metrics._confusion import Dice as Dice
from kauldron.metrics._confusion import F1 as F1
from kauldron.metrics._confusion import MeanIou as MeanIou
from kauldron.metrics._confusion import Precision as Precision
from kauldron.metrics._confusion import Recall as Recall
from kauldron.metrics._features import CovarianceState as CovarianceState
from kauldron.metrics._features import FrechetDistance as FrechetDistance
from kauldron.metrics._features import frechet_distance as frechet_distance
from kauldron.metrics._images import Psnr as Psnr
from kauldron.metrics._images import Ssim as Ssim
from kauldron.metrics._language import BitsPerByte as BitsPerByte
from kauldron.metrics._language import Perplexity as Perplexity
from kauldron.metrics._metric import NotAStateError as NotAStateError
from kauldron.metrics._norm import GlobalNorm as GlobalNorm
from kauldron.metrics._norm import Norm as Norm
from kauldron.metrics._perceptual import Fid as Fid
from kauldron.metrics._perceptual import LpipsVgg as LpipsVgg
from kauldron.metrics._ranking import PrAuc as PrAuc
from kauldron.metrics._ranking import RocAuc as RocAuc
from kauldron.metrics._regression import ExplainedVariance as ExplainedVariance
from kauldron.metrics._regression import MeanAbsoluteError as MeanAbsoluteError
from kauldron.metrics._regression import MeanSquaredError as MeanSquaredError
from kauldron.metrics._regression import MomentsState as MomentsState
from kauldron.metrics._regression import R2Score as R2Score
from kauldron.metrics._regression import RootMeanSquaredError as RootMeanSquaredError
from kauldron.metrics._regression import SingleDimension as SingleDimension
from kauldron.metrics._regression import Std as Std
from kauldron.metrics._slicing import SliceBy as SliceBy
from kauldron.metrics._text_scores import Bleu as Bleu
from kauldron.metrics._text_scores import CharErrorRate as CharErrorRate
from kauldron.metrics._text_scores import EditDistance as EditDistance
from kauldron.metrics._text_scores import Rouge as Rouge
from kauldron.metrics._text_scores import WordErrorRate as WordErrorRate
from kauldron.metrics._texts import TextMetric as TextMetric
from kauldron.metrics._texts import TextState as TextState
from kauldron.metrics._throughput import PerStep as PerStep
from kauldron.metrics._throughput import Throughput as Throughput
from kauldron.metrics.auto_state import AutoState as AutoState
from kauldron.metrics.auto_state import concat_field as concat_field
from kauldron.metrics.auto_state import max_field as max_field
from kauldron.metrics.auto_state import min_field as min_field
from kauldron.metrics.auto_state import state_field as state_field
from kauldron.metrics.auto_state import static_field as static_field
from kauldron.metrics.auto_state import sum_field as sum_field
from kauldron.metrics.auto_state import truncate_field as truncate_field
from kauldron.metrics.base import Metric as Metric
from kauldron.metrics.base import NoopMetric as NoopMetric
from kauldron.metrics.base import SkipIfMissing as SkipIfMissing
from kauldron.metrics.base import TreeMap as TreeMap
from kauldron.metrics.base import TreeReduce as TreeReduce
from kauldron.metrics.base import TreeState as TreeState
from kauldron.metrics.base_state import AverageState as AverageState
from kauldron.metrics.base_state import CollectFirstState as CollectFirstState
from kauldron.metrics.base_state import CollectingState as CollectingState
from kauldron.metrics.base_state import EmptyState as EmptyState
from kauldron.metrics.base_state import State as State
from kauldron.metrics.class_ids import LabelError as LabelError
from kauldron.metrics.class_ids import check_labels as check_labels

__all__ = [
    "Accuracy",
    "Ari",
    "AutoState",
    "AverageState",
    "BinaryAccuracy",
    "BitsPerByte",
    "Bleu",
    "Bootstrap",
    "CalibrationError",
    "CharErrorRate",
    "CollectFirstState",
    "CollectingState",
    "ConfusionMatrix",
    "CovarianceState",
    "Dice",
    "EditDistance",
    "EmptyState",
    "ExplainedVariance",
    "F1",
    "Fid",
    "FrechetDistance",
    "GlobalNorm",
    "LabelError",
    "LpipsVgg",
    "MeanAbsoluteError",
    "MeanIou",
    "MeanSquaredError",
    "Metric",
    "MomentsState",
    "NoopMetric",
    "Norm",
    "NotAStateError",
    "PerStep",
    "Perplexity",
    "PrAuc",
    "Precision",
    "Precision1",
    "Psnr",
    "R2Score",
    "Recall",
    "RocAuc",
    "RootMeanSquaredError",
    "Rouge",
    "SingleDimension",
    "SkipIfMissing",
    "SliceBy",
    "Ssim",
    "State",
    "Std",
    "TextMetric",
    "TextState",
    "Throughput",
    "TopKAccuracy",
    "TreeMap",
    "TreeReduce",
    "TreeState",
    "WordErrorRate",
    "check_labels",
    "concat_field",
    "frechet_distance",
    "image",
    "max_field",
    "min_field",
    "networks",
    "state_field",
    "static_field",
    "sum_field",
    "truncate_field",
]
