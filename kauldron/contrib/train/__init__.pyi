"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.contrib.train._gif_writer import GifVideoWriter as GifVideoWriter
from kauldron.contrib.train._mlflow import MLFlowMetricWriter as MLFlowMetricWriter
from kauldron.contrib.train._mlflow import NoMlflowRunError as NoMlflowRunError
from kauldron.contrib.train._multi_step import MultiContext as MultiContext
from kauldron.contrib.train._multi_step import MultiOptimizer as MultiOptimizer
from kauldron.contrib.train._multi_step import MultiStepError as MultiStepError
from kauldron.contrib.train._multi_step import MultiTrainStep as MultiTrainStep
from kauldron.contrib.train._multi_step import multi_optimizer as multi_optimizer
from kauldron.contrib.train._noop_step import NoopTrainStep as NoopTrainStep
from kauldron.contrib.train._npz_writer import NpzWriter as NpzWriter

__all__ = [
    "GifVideoWriter",
    "MLFlowMetricWriter",
    "MultiContext",
    "MultiOptimizer",
    "MultiStepError",
    "MultiTrainStep",
    "NoMlflowRunError",
    "NoopTrainStep",
    "NpzWriter",
    "multi_optimizer",
]
