"""`kd.contrib.train`: training steps and writers."""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.contrib.train"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # Steps.
        "MultiContext": f"{_ROOM}._multi_step:MultiContext",
        "MultiOptimizer": f"{_ROOM}._multi_step:MultiOptimizer",
        "MultiStepError": f"{_ROOM}._multi_step:MultiStepError",
        "MultiTrainStep": f"{_ROOM}._multi_step:MultiTrainStep",
        "NoopTrainStep": f"{_ROOM}._noop_step:NoopTrainStep",
        "multi_optimizer": f"{_ROOM}._multi_step:multi_optimizer",
        # Writers.
        "GifVideoWriter": f"{_ROOM}._gif_writer:GifVideoWriter",
        "MLFlowMetricWriter": f"{_ROOM}._mlflow:MLFlowMetricWriter",
        "NoMlflowRunError": f"{_ROOM}._mlflow:NoMlflowRunError",
        "NpzWriter": f"{_ROOM}._npz_writer:NpzWriter",
    },
)
