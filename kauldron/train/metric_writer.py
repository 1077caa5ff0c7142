"""Where results are written: TensorBoard event files and lines of JSON.

A writer is told of each (collection, step) once. After a restart `rewind(step)` takes
back what the lost part of the run had written, so nothing is there twice.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from kauldron import summaries
from kauldron.train import _records, auxiliaries
from kauldron.utils import config_util, status_utils

METRICS_FILE = _records.METRICS_FILE
TIMINGS_FILE = _records.TIMINGS_FILE


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WriterBase(config_util.UpdateFromRootCfg, abc.ABC):
    """Protocol of writers.

    Attributes:
      workdir: Directory of the run; the trainer's unless given.
      collection: `'train'`, or the name of an evaluator; set by the trainer.
    """

    workdir: epath.PathLike = config_util.ROOT_CFG_REF.workdir
    collection: str = "$not_set$"

    @abc.abstractmethod
    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes numbers."""

    def write_arrays(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes metrics that are tables of numbers, such as a confusion matrix."""
        raise TypeError(f"{type(self).__name__} cannot write arrays: {list(arrays)}.")

    def write_timings(self, step: int, timings: Mapping[str, float]) -> None:
        """Writes rates and durations, which differ from run to run."""
        self.write_scalars(step, timings)

    @abc.abstractmethod
    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes images, `f32[n h w c]` in [0, 1] or `u8[n h w c]`."""

    @abc.abstractmethod
    def write_texts(self, step: int, texts: Mapping[str, Any]) -> None:
        """Writes strings (Markdown)."""

    def write_config(self, config: Any) -> None:
        """Writes the config of the run."""

    def rewind(self, step: int) -> None:
        """Takes back everything written for `step` and later steps."""

    def flush(self) -> None:
        """Makes everything written so far visible to readers."""

    def close(self) -> None:
        """Releases files."""

    def write_histograms(
        self, step: int, arrays: Mapping[str, np.ndarray], *, num_buckets: int
    ) -> None:
        """Writes distributions of values."""
        raise TypeError(
            f"{type(self).__name__} cannot show histograms: {list(arrays)}."
        )

    def write_pointcloud(
        self,
        step: int,
        point_clouds: Mapping[str, np.ndarray],
        *,
        point_colors: Mapping[str, Any],
    ) -> None:
        """Writes points, `f32[n points 3]`, and their colours, `u8[n points 3]`."""
        names = list(point_clouds)
        raise TypeError(f"{type(self).__name__} cannot show point clouds: {names}.")

    def write_summaries(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes things to show.

        Raises:
          TypeError: If a value is nothing that can be shown.
        """
        for name, value in values.items():
            if isinstance(value, str) or _is_texts(value):
                self.write_texts(step, {name: value})
            elif isinstance(value, summaries.Histogram):
                tensor, num_buckets = value.tensor, value.num_buckets
                self.write_histograms(step, {name: tensor}, num_buckets=num_buckets)
            elif isinstance(value, summaries.PointCloud):
                colors = {name: value.point_colors}
                self.write_pointcloud(
                    step, {name: value.point_clouds}, point_colors=colors
                )
            elif isinstance(value, summaries.Video):
                self.write_images(step, {name: value.as_images()})
            elif _is_images(value):
                self.write_images(step, {name: value})
            else:
                shape = getattr(value, "shape", None)
                raise TypeError(
                    f"Summary {name!r} cannot be shown: got {type(value).__name__} "
                    f"(shape {shape}). A summary computes images `[n h w 1|3]`, text, a "
                    "`Histogram`, a `PointCloud` or a `Video`."
                )

    def write_step_metrics(
        self,
        *,
        step: int,
        aux: auxiliaries.AuxiliariesState,
        schedules: Mapping[str, Any],
        log_summaries: bool,
        timer: Any = None,
        flush: bool = True,
    ) -> auxiliaries.AuxiliariesOutput:
        """Computes and writes the measurements of a step.

        Args:
          step: Number of updates applied before it.
          aux: States of the step, or merged states of an evaluation.
          schedules: Name -> function from step to value.
          log_summaries: Whether the summaries are written too.
          timer: Object whose `flush_metrics()` gives rates and durations.
          flush: Whether readers should see the values at once.

        Returns:
          The computed values.
        """
        if not log_summaries:
            aux = dataclasses.replace(aux, summary_states=None)
        values = aux.compute()  # in every process: merging may need all of them
        if not status_utils.is_lead_host():
            return values
        arrays = {k: v for k, v in values.metric_values.items() if np.size(v) != 1}
        scalars = {**values.loss_values, **values.metric_values}
        scalars = {k: v for k, v in scalars.items() if k not in arrays}
        for name, schedule in schedules.items():
            scalars[f"schedules/{name}"] = schedule(step)
        scalars = {name: _to_scalar(name, value) for name, value in scalars.items()}
        if scalars:
            self.write_scalars(step, scalars)
        if arrays:
            self.write_arrays(step, {k: _to_numbers(k, v) for k, v in arrays.items()})
        if timer is not None:
            self.write_timings(step, timer.flush_metrics())
        if log_summaries:
            self.write_summaries(step, values.summary_values)
        if flush:
            self.flush()
        return values


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoopWriter(WriterBase):
    """Writes nothing."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        pass

    def write_arrays(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        pass

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        pass

    def write_texts(self, step: int, texts: Mapping[str, Any]) -> None:
        pass

    def write_histograms(
        self, step: int, arrays: Mapping[str, np.ndarray], *, num_buckets: int
    ) -> None:
        pass

    def write_pointcloud(
        self,
        step: int,
        point_clouds: Mapping[str, np.ndarray],
        *,
        point_colors: Mapping[str, Any],
    ) -> None:
        pass


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class KDMetricWriter(WriterBase):
    """Writes TensorBoard events per collection, and JSON lines for any other tool.

    `workdir/<collection>/` holds the event files. `workdir/metrics.jsonl` has a line per
    collection and step, a function of config and seed alone; rates and durations are in
    `workdir/timings.jsonl`. NaN and infinities are the strings `"NaN"`, `"Infinity"`,
    `"-Infinity"` there, so that every line is strict JSON.

    Attributes:
      add_artifacts: Accepted for compatibility.
    """

    add_artifacts: bool = True

    @functools.cached_property
    def _events(self) -> Any:
        import tensorboardX

        return tensorboardX.SummaryWriter(
            os.fspath(epath.Path(self.workdir) / self.collection),
            purge_step=self.__dict__.get("_purge_step"),
            # Names count seconds: a restart within one would overwrite the file.
            filename_suffix=f".{time.time_ns()}",
        )

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self._write(METRICS_FILE, step, scalars)

    def write_timings(self, step: int, timings: Mapping[str, float]) -> None:
        self._write(TIMINGS_FILE, step, timings)

    def write_arrays(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        # TensorBoard has no tables: they stand in the JSON lines alone.
        self._append(METRICS_FILE, step, {k: v.tolist() for k, v in arrays.items()})

    def _append(self, file_name: str, step: int, values: Mapping[str, Any]) -> None:
        self._records[file_name].append(step, self.collection, values)

    @functools.cached_property
    def _records(self) -> Mapping[str, _records.RecordFile]:
        self._assert_root_cfg_resolved()
        return {
            name: _records.RecordFile(epath.Path(self.workdir) / name)
            for name in (METRICS_FILE, TIMINGS_FILE)
        }

    def _write(self, file_name: str, step: int, scalars: Mapping[str, float]) -> None:
        self._append(file_name, step, scalars)
        for name, value in scalars.items():
            self._events.add_scalar(name, value, step)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, batch in images.items():
            for i, image in enumerate(batch):
                self._events.add_image(f"{name}/{i}", image, step, dataformats="HWC")

    def write_texts(self, step: int, texts: Mapping[str, Any]) -> None:
        for name, text in texts.items():
            several = [text] if isinstance(text, str) else np.ravel(text).tolist()
            shown = "\n\n".join(map(str, several))  # paragraphs of Markdown
            self._events.add_text(name, shown, step)

    def write_histograms(
        self, step: int, arrays: Mapping[str, np.ndarray], *, num_buckets: int
    ) -> None:
        for name, array in arrays.items():
            values = np.asarray(array, np.float64).ravel()
            finite = values[np.isfinite(values)]
            self._events.add_histogram(name, finite, step, bins=num_buckets)

    def write_pointcloud(
        self,
        step: int,
        point_clouds: Mapping[str, np.ndarray],
        *,
        point_colors: Mapping[str, Any],
    ) -> None:
        for name, points in point_clouds.items():
            colors = point_colors.get(name)
            self._events.add_mesh(name, points, colors=colors, global_step=step)

    def write_config(self, config: Any) -> None:
        self.write_texts(0, {"config": f"```python\n{config!r}\n```"})

    def rewind(self, step: int) -> None:
        # TensorBoard hides events of this step and later that were written before.
        object.__setattr__(self, "_purge_step", step)
        for records in self._records.values():
            records.rewind(step, self.collection)

    def flush(self) -> None:
        if "_events" in self.__dict__:
            self._events.flush()

    def close(self) -> None:
        if "_events" in self.__dict__:
            self._events.close()
            vars(self).pop("_events")


def _to_scalar(name: str, value: Any) -> float:
    return float(_to_numbers(name, value).reshape(()))


def _to_numbers(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name!r} is no number: got {type(value).__name__}, shape {array.shape}, "
            f"dtype {array.dtype}. A metric computes numbers or a dict of them; something "
            "to look at is a summary."
        )
    return array


def _is_texts(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "UO"


def _is_images(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 4
        and value.shape[-1] in (1, 3)
        and value.size > 0
    )
