"""What kind of thing a measured value is: a number, a table, a picture, a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kauldron import summaries
from kauldron._base import errors
from kauldron.step import auxiliaries, measured_numbers

# `write_<kind>` of a writer takes them.
KINDS = frozenset(
    {"arrays", "audios", "histograms", "images", "pointcloud", "texts", "videos"}
)


class CannotShowError(errors.UserError, TypeError):
    """A value that a writer has no place for."""


def kind_of(name: str, value: Any) -> str:
    """Returns the kind of a summary value: `write_<kind>` takes it.

    Raises:
      CannotShowError: If it is nothing that can be shown.
    """
    if isinstance(value, str) or _is_texts(value):
        return "texts"
    if isinstance(value, summaries.Histogram):
        return "histograms"
    if isinstance(value, summaries.PointCloud):
        return "pointcloud"
    if isinstance(value, summaries.Video):
        return "videos"
    if _is_images(value):
        return "images"
    raise CannotShowError(
        f"Summary {name!r} cannot be shown: got {type(value).__name__} (shape "
        f"{getattr(value, 'shape', None)}). A summary computes images `[n h w 1|3]`, "
        "text, a `Histogram`, a `PointCloud` or a `Video`."
    )


def split_numbers(
    step: int, values: auxiliaries.AuxiliariesOutput, schedules: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Returns the scalars, schedules included, and the tables of numbers.

    Raises:
      TypeError: If a metric is no number.
    """
    losses = {**values.loss_values, **values.raw_loss_values}
    numbers = {**losses, **values.metric_values}
    for name, schedule in schedules.items():
        numbers[f"schedules/{name}"] = schedule(step)
    numbers = {
        name: measured_numbers.to_numbers(name, value)
        for name, value in numbers.items()
    }
    scalars = {k: float(v.reshape(())) for k, v in numbers.items() if v.size == 1}
    return scalars, {k: v for k, v in numbers.items() if v.size != 1}


def is_scalar(value: Any) -> bool:
    """Whether a number is a single one."""
    return np.size(value) == 1


def _is_texts(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "UO"


def _is_images(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 4
        and value.shape[-1] in (1, 3)
        and value.size > 0
    )
