"""`WriterBase`: a writer with one method per kind of value, as published."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kauldron import konfig, summaries
from kauldron.recording import _attempts, _writer, measured


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WriterBase(_writer.Writer):
    """A `Writer` that implements `write_scalars`, and others that it has a place for.

    Attributes:
      workdir: Directory of the run; the trainer's unless given.
      collection: `'train'`, or the name of an evaluator; set by the trainer.
    """

    @abc.abstractmethod
    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes losses, metrics and schedules."""

    def write_timings(self, step: int, timings: Mapping[str, float]) -> None:
        """Writes rates and durations, which differ from run to run."""
        self.write_scalars(step, timings)

    def write_arrays(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes metrics that are tables of numbers, such as a confusion matrix."""
        self._cannot_show("arrays", arrays)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes images, `f32[n h w 1|3]` in [0, 1] or `u8[n h w 1|3]`."""
        self._cannot_show("images", images)

    def write_texts(self, step: int, texts: Mapping[str, str | np.ndarray]) -> None:
        """Writes strings (Markdown), or arrays of them."""
        self._cannot_show("texts", texts)

    def write_histograms(
        self, step: int, arrays: Mapping[str, np.ndarray], *, num_buckets: int
    ) -> None:
        """Writes distributions of values."""
        self._cannot_show("histograms", arrays)

    def write_pointcloud(
        self,
        step: int,
        point_clouds: Mapping[str, np.ndarray],
        *,
        point_colors: Mapping[str, np.ndarray | None],
        configs: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes points, `f32[n points 3]`, and their colours, `u8[n points 3]`.

        `configs` has options of the viewer by name.
        """
        self._cannot_show("pointcloud", point_clouds)

    def write_videos(
        self, step: int, videos: Mapping[str, np.ndarray], *, fps: float = 10.0
    ) -> None:
        """Writes videos, `f32[n t h w 1|3]` in [0, 1]; as rows of frames by default."""
        rows = {k: summaries.Video(v, fps=fps).as_images() for k, v in videos.items()}
        self.write_images(step, rows)

    def write_audios(
        self, step: int, audios: Mapping[str, np.ndarray], *, sample_rate: int
    ) -> None:
        """Writes sound, `f32[n t channels]` in [-1, 1], `sample_rate` in Hz."""
        self._cannot_show("audios", audios)

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes the numbers, strings and flags of the config, by path."""

    def write_config(self, config: konfig.ConfigDict) -> None:
        """Writes the config of the run."""

    def write_param_overview(self, step: int, params: object) -> None:
        """Writes name, shape and size of each parameter (given as shapes)."""

    def write_element_spec(self, step: int, element_spec: object) -> None:
        """Writes the names, shapes and dtypes of an example of the training data."""

    def write_context_structure(
        self, step: int, trainer: measured.HasContextSpecs
    ) -> None:
        """Writes the existing keys (`trainer.context_specs`)."""

    def write_summaries(
        self,
        step: int,
        values: Mapping[str, measured.Summary],
        *,
        metadata: object = None,
    ) -> None:
        """Writes things to show: each with the method of its kind.

        Args:
          step: The step they belong to.
          values: Name -> images, text, `Histogram`, `PointCloud` or `Video`.
          metadata: Ignored by the built-in writers; for writers of your own.

        Raises:
          CannotShowError: If a value cannot be shown. The others are written first.
        """
        del metadata
        problems, errors = [], []
        for name, value in values.items():
            try:
                self._write_summary(step, name, value)
            except measured.CannotShowError as e:
                problems.append(str(e))
            except Exception as e:
                errors.append(e)
        if problems:
            errors.append(measured.CannotShowError("\n".join(problems)))
        _attempts.raise_all(errors)

    def _write_summary(self, step: int, name: str, value: Any) -> None:
        match measured.kind_of(name, value):
            case "texts":
                self.write_texts(step, {name: value})
            case "images":
                self.write_images(step, {name: value})
            case "histograms":
                tensor, num_buckets = value.tensor, value.num_buckets
                self.write_histograms(step, {name: tensor}, num_buckets=num_buckets)
            case "pointcloud":
                self.write_pointcloud(
                    step,
                    {name: value.point_clouds},
                    point_colors={name: value.point_colors},
                    configs={name: value.configs},
                )
            case "videos":
                # Third-party writers may not accept `fps`.
                options = {} if value.fps == 10 else {"fps": value.fps}
                self.write_videos(step, {name: value.frames}, **options)

    def write(self, step: int, values: measured.Measured) -> None:
        """Calls the method of each kind of value present, even after one has raised."""
        # The dicts are copies: other writers are given the same values.
        later = functools.partial
        calls: list[Callable[[], None]] = []
        if values.scalars:
            calls.append(later(self.write_scalars, step, dict(values.scalars)))
        if values.arrays and self.can_write("arrays"):
            calls.append(later(self.write_arrays, step, dict(values.arrays)))
        if values.timings:
            calls.append(later(self.write_timings, step, dict(values.timings)))
        shown = {
            name: value
            for name, value in values.summaries.items()
            if self.can_write(measured.kind_of(name, value))
        }
        if shown:
            calls.append(later(self.write_summaries, step, shown))
        _attempts.call_all(calls)

    def describe(self, step: int, run: measured.Description) -> None:
        calls = [
            functools.partial(self.write_param_overview, step, run.params),
            functools.partial(self.write_element_spec, step, run.element_spec),
            functools.partial(self.write_context_structure, step, run.trainer),
        ]
        if run.config is not None:
            calls.append(functools.partial(self.write_config, run.config))
            calls.append(functools.partial(self.write_hparams, run.hparams))
        _attempts.call_all(calls)

    def can_write(self, kind: str) -> bool:
        if self._overrides(f"write_{kind}"):
            return True
        if kind not in ("arrays", "anything") and self._overrides("write_summaries"):
            return True
        return kind == "videos" and self.can_write("images")

    def _overrides(self, method: str) -> bool:
        inherited = getattr(WriterBase, method, None)
        return getattr(type(self), method, inherited) is not inherited

    def _cannot_show(self, kind: str, values: Mapping[str, object]) -> None:
        raise measured.no_place_for(kind, list(values), writer=type(self).__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoopWriter(WriterBase):
    """Writes nothing."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        pass

    def write_summaries(
        self,
        step: int,
        values: Mapping[str, measured.Summary],
        *,
        metadata: object = None,
    ) -> None:
        pass

    def can_write(self, kind: str) -> bool:
        return True

    def _cannot_show(self, kind: str, values: Mapping[str, object]) -> None:
        pass


class NoopMetadataWriter:
    """Mixin: makes a writer skip what is known at the start of a run."""

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Skips the hyperparameters."""

    def write_config(self, config: konfig.ConfigDict) -> None:
        """Skips the config."""

    def write_param_overview(self, step: int, params: object) -> None:
        """Skips the table of parameters."""

    def write_element_spec(self, step: int, element_spec: object) -> None:
        """Skips the spec of a batch."""

    def write_context_structure(
        self, step: int, trainer: measured.HasContextSpecs
    ) -> None:
        """Skips the keys of a step."""
