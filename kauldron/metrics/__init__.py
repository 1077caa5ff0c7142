"""Metrics: `get_state` inside jit, `merge` anywhere, `compute` on the host.

Nothing is imported before it is used.
"""

from __future__ import annotations

from kauldron._base import lazy

_HERE = "kauldron.metrics"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # The protocol.
        "Metric": f"{_HERE}.base:Metric",
        "State": f"{_HERE}.base_state:State",
        # Class ids.
        "LabelError": f"{_HERE}.class_ids:LabelError",
        "NotAStateError": f"{_HERE}._metric:NotAStateError",
        "check_labels": f"{_HERE}.class_ids:check_labels",
        # States.
        "AutoState": f"{_HERE}.auto_state:AutoState",
        "AverageState": f"{_HERE}.base_state:AverageState",
        "CollectFirstState": f"{_HERE}.base_state:CollectFirstState",
        "CollectingState": f"{_HERE}.base_state:CollectingState",
        "CovarianceState": f"{_HERE}._features:CovarianceState",
        "EmptyState": f"{_HERE}.base_state:EmptyState",
        "MomentsState": f"{_HERE}._regression:MomentsState",
        "TreeState": f"{_HERE}.base:TreeState",
        "concat_field": f"{_HERE}.auto_state:concat_field",
        "max_field": f"{_HERE}.auto_state:max_field",
        "min_field": f"{_HERE}.auto_state:min_field",
        "state_field": f"{_HERE}.auto_state:state_field",
        "static_field": f"{_HERE}.auto_state:static_field",
        "sum_field": f"{_HERE}.auto_state:sum_field",
        "truncate_field": f"{_HERE}.auto_state:truncate_field",
        # Wrappers.
        "Bootstrap": f"{_HERE}._bootstrap:Bootstrap",
        "NoopMetric": f"{_HERE}.base:NoopMetric",
        "SkipIfMissing": f"{_HERE}.base:SkipIfMissing",
        "SliceBy": f"{_HERE}._slicing:SliceBy",
        "TreeMap": f"{_HERE}.base:TreeMap",
        "TreeReduce": f"{_HERE}.base:TreeReduce",
        # Classes.
        "Accuracy": f"{_HERE}._classification:Accuracy",
        "BinaryAccuracy": f"{_HERE}._classification:BinaryAccuracy",
        "CalibrationError": f"{_HERE}._calibration:CalibrationError",
        "ConfusionMatrix": f"{_HERE}._confusion:ConfusionMatrix",
        "F1": f"{_HERE}._confusion:F1",
        "PrAuc": f"{_HERE}._ranking:PrAuc",
        "Precision": f"{_HERE}._confusion:Precision",
        "Precision1": f"{_HERE}._classification:Precision1",
        "Recall": f"{_HERE}._confusion:Recall",
        "RocAuc": f"{_HERE}._ranking:RocAuc",
        "TopKAccuracy": f"{_HERE}._classification:TopKAccuracy",
        # Regions.
        "Ari": f"{_HERE}._clustering:Ari",
        "Dice": f"{_HERE}._confusion:Dice",
        "MeanIou": f"{_HERE}._confusion:MeanIou",
        # Values.
        "ExplainedVariance": f"{_HERE}._regression:ExplainedVariance",
        "MeanAbsoluteError": f"{_HERE}._regression:MeanAbsoluteError",
        "MeanSquaredError": f"{_HERE}._regression:MeanSquaredError",
        "GlobalNorm": f"{_HERE}._norm:GlobalNorm",
        "Norm": f"{_HERE}._norm:Norm",
        "R2Score": f"{_HERE}._regression:R2Score",
        "RootMeanSquaredError": f"{_HERE}._regression:RootMeanSquaredError",
        "SingleDimension": f"{_HERE}._regression:SingleDimension",
        "Std": f"{_HERE}._regression:Std",
        # Features and images.
        "Fid": f"{_HERE}._perceptual:Fid",
        "FrechetDistance": f"{_HERE}._features:FrechetDistance",
        "frechet_distance": f"{_HERE}._features:frechet_distance",
        "LpipsVgg": f"{_HERE}._perceptual:LpipsVgg",
        "Psnr": f"{_HERE}._images:Psnr",
        "Ssim": f"{_HERE}._images:Ssim",
        "image": f"{_HERE}.image",
        "networks": f"{_HERE}.networks",
        # Language.
        "BitsPerByte": f"{_HERE}._language:BitsPerByte",
        "Bleu": f"{_HERE}._text_scores:Bleu",
        "CharErrorRate": f"{_HERE}._text_scores:CharErrorRate",
        "EditDistance": f"{_HERE}._text_scores:EditDistance",
        "Perplexity": f"{_HERE}._language:Perplexity",
        "Rouge": f"{_HERE}._text_scores:Rouge",
        "TextMetric": f"{_HERE}._texts:TextMetric",
        "TextState": f"{_HERE}._texts:TextState",
        "WordErrorRate": f"{_HERE}._text_scores:WordErrorRate",
        # Speed.
        "PerStep": f"{_HERE}._throughput:PerStep",
        "Throughput": f"{_HERE}._throughput:Throughput",
    },
)
