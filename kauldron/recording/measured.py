"""`Measured`: one step's losses, metrics, timings and summaries, as writers get them.

All values are NumPy arrays, numbers and text on the host: no writer needs JAX.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from kauldron import konfig
from kauldron import summaries as summary_types
from kauldron._base import errors

# What a summary may compute, see `kauldron.summaries`.
Summary: TypeAlias = (
    str
    | np.ndarray
    | summary_types.Histogram
    | summary_types.PointCloud
    | summary_types.Video
)

# Kind of values that not every writer has a place for -> what it is called in messages.
# `write_<kind>` of a `WriterBase` takes them.
KINDS = {
    "arrays": "tables of numbers",
    "audios": "sound",
    "histograms": "histograms",
    "images": "images",
    "pointcloud": "point clouds",
    "texts": "texts",
    "videos": "videos",
}


class CannotShowError(errors.UserError, TypeError):
    """A value that a writer has no place for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured at one step; all writers of a run share it, to be read only.

    Attributes:
      scalars: Losses, metrics and schedules: `losses/x`, `metrics/x/y`, `schedules/x`.
        They may be NaN or infinite.
      arrays: Metrics that are tables of numbers, such as a confusion matrix.
      timings: Rates and durations (`perf_stats/x`), which differ from run to run.
      summaries: Things to show (`summaries/x`), in the order of the config. The properties
        below have those of one kind.
      failures: What could not be computed, as the user wrote it
        (`cfg.train_metrics['x']`), and what it has raised. The run reports it; a writer
        need not.
    """

    scalars: Mapping[str, float] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    timings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    summaries: Mapping[str, Summary] = dataclasses.field(default_factory=dict)
    failures: Mapping[str, Exception] = dataclasses.field(default_factory=dict)

    @property
    def images(self) -> dict[str, np.ndarray]:
        """Images, `f32[n h w 1|3]` in [0, 1] or `u8[n h w 1|3]`."""
        return self._of_kind("images")

    @property
    def texts(self) -> dict[str, str]:
        """Texts in Markdown; of several, each is a paragraph."""
        return {name: as_text(x) for name, x in self._of_kind("texts").items()}

    @property
    def histograms(self) -> dict[str, summary_types.Histogram]:
        """Distributions of values."""
        return self._of_kind("histograms")

    @property
    def point_clouds(self) -> dict[str, summary_types.PointCloud]:
        """Points in space, with their colours."""
        return self._of_kind("pointcloud")

    @property
    def videos(self) -> dict[str, summary_types.Video]:
        """Moving pictures."""
        return self._of_kind("videos")

    def _of_kind(self, kind: str) -> dict[str, Any]:
        return {k: x for k, x in self.summaries.items() if kind_of(k, x) == kind}

    def names_by_kind(self) -> dict[str, list[str]]:
        """Returns the kinds that need a place of their own: kind -> names."""
        names: dict[str, list[str]] = (
            {"arrays": list(self.arrays)} if self.arrays else {}
        )
        for name, value in self.summaries.items():
            names.setdefault(kind_of(name, value), []).append(name)
        return names


class HasContextSpecs(Protocol):
    """A trainer, as far as writers look at it."""

    @property
    def context_specs(self) -> Any:
        """The `Context` of a step, as shapes and dtypes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What is known of a run before its first step.

    Attributes:
      params: Tree of the parameters, as shapes and dtypes.
      element_spec: Names, shapes and dtypes of an example of the training data.
      trainer: Has `context_specs`: the keys there are.
      config: The config of the run; `None` if it was built without one.
      hparams: The numbers, strings and flags of the config, by path.
    """

    params: object
    element_spec: object
    trainer: HasContextSpecs
    config: konfig.ConfigDict | None = None
    hparams: Mapping[str, str | float | bool] = dataclasses.field(default_factory=dict)


def kind_of(name: str, value: object) -> str:
    """Returns the kind of a summary value: one of `KINDS`.

    Raises:
      CannotShowError: If it cannot be shown.
    """
    if isinstance(value, str) or _is_texts(value):
        return "texts"
    if isinstance(value, summary_types.Histogram):
        return "histograms"
    if isinstance(value, summary_types.PointCloud):
        return "pointcloud"
    if isinstance(value, summary_types.Video):
        return "videos"
    if _is_images(value):
        return "images"
    raise CannotShowError(
        f"Summary {name!r} cannot be shown: got {type(value).__name__} (shape "
        f"{getattr(value, 'shape', None)}). A summary computes images `[n h w 1|3]`, "
        "text, a `Histogram`, a `PointCloud` or a `Video`."
    )


def as_text(value: str | np.ndarray) -> str:
    """Returns a text, or several as paragraphs of Markdown."""
    if isinstance(value, str):
        return value
    return "\n\n".join(map(str, np.ravel(value).tolist()))


def no_place_for(kind: str, names: Sequence[str], *, writer: str) -> CannotShowError:
    """Returns the error that nothing can show these values; `writer` is its class."""
    return CannotShowError(
        f"{writer} cannot show {KINDS[kind]}: {list(names)}. Put a writer that can "
        "beside it: `cfg.writer = {'files': kd.train.KDMetricWriter(), ...}`."
    )


def _is_texts(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "UO"


def _is_images(value: object) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 4
        and value.shape[-1] in (1, 3)
        and value.size > 0
    )
