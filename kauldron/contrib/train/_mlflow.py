"""A writer for MLflow, whose client is an optional dependency."""

from __future__ import annotations

from typing import Any

from kauldron._base import errors


class NoMlflowError(errors.UserError, NotImplementedError):
    """A writer for a service that there is no client for."""


class MLFlowMetricWriter:
    """Not available; a `kd.train.WriterBase` of your own takes a few lines."""

    def __init__(self, *, pass_to_default_writer: bool = True, **kwargs: Any) -> None:
        del pass_to_default_writer, kwargs
        raise NoMlflowError(
            "There is no writer for MLflow here. Derive one from `kd.train.WriterBase` "
            "whose `write_scalars(step, scalars)` calls `mlflow.log_metrics(scalars, "
            "step=step)`, and put it beside the usual one: `cfg.writer = {'files': "
            "kd.train.KDMetricWriter(), 'mlflow': MyWriter()}`."
        )
