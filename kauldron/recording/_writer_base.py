"""`WriterBase`: what is told of everything that a run measures.

A writer implements `write_scalars`, and whatever else its service has a place for. In a
training run its methods are called from a background thread of its own, in order; what it
raises is reported, and the run goes on.
"""

from __future__ import annotations

import abc
import contextvars
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from etils import epath

from kauldron import summaries
from kauldron._base import console, problem_log, root_refs
from kauldron.recording import _shown_values
from kauldron.step import auxiliaries, state_trees


class Background(Protocol):
    """Computes and writes later; see `_recorder.Recorder`."""

    def write_step_metrics(
        self,
        writer: WriterBase,
        *,
        step: int,
        aux: auxiliaries.AuxiliariesState,
        schedules: Mapping[str, Any],
        log_summaries: bool,
        timer: Any = None,
        flush: bool = True,
    ) -> auxiliaries.AuxiliariesOutput: ...


# Set while a training loop runs, in its thread only: evaluators write through it too.
background: contextvars.ContextVar[Background | None] = contextvars.ContextVar(
    "kauldron_background_writing", default=None
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WriterBase(root_refs.UpdateFromRootCfg, abc.ABC):
    """Protocol of writers.

    Attributes:
      workdir: Directory of the run; the trainer's unless given.
      collection: `'train'`, or the name of an evaluator; set by the trainer.
    """

    workdir: epath.PathLike = root_refs.ROOT_CFG_REF.workdir
    collection: str = "$not_set$"

    @abc.abstractmethod
    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes losses, metrics and schedules."""

    def write_timings(self, step: int, timings: Mapping[str, float]) -> None:
        """Writes rates and durations, which differ from run to run."""
        self.write_scalars(step, timings)

    def write_arrays(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes metrics that are tables of numbers, such as a confusion matrix."""
        self._cannot_show("tables of numbers", arrays)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes images, `f32[n h w 1|3]` in [0, 1] or `u8[n h w 1|3]`."""
        self._cannot_show("images", images)

    def write_texts(self, step: int, texts: Mapping[str, Any]) -> None:
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
        point_colors: Mapping[str, Any],
        configs: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes points, `f32[n points 3]`, and their colours, `u8[n points 3]`.

        `configs` has options of the viewer by name.
        """
        self._cannot_show("point clouds", point_clouds)

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
        self._cannot_show("sound", audios)

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes the numbers, strings and flags of the config, by path."""

    def write_config(self, config: Any) -> None:
        """Writes the config of the run."""

    def write_param_overview(self, step: int, params: Any) -> None:
        """Writes name, shape and size of each parameter (given as shapes)."""

    def write_element_spec(self, step: int, element_spec: Any) -> None:
        """Writes the names, shapes and dtypes of an example of the training data."""

    def write_context_structure(self, step: int, trainer: Any) -> None:
        """Writes the keys there are (`trainer.context_specs`)."""

    def rewind(self, step: int) -> None:
        """Takes back everything written for `step` and later steps.

        Called at every start of a run, with the step it continues at: what was written
        for later ones belongs to a part of the run that was lost.
        """

    def flush(self) -> None:
        """Makes everything written so far visible to readers."""

    def close(self) -> None:
        """Releases files and connections; a write after it opens them again."""

    def has_written_all(self) -> bool:
        """Whether all it was given is written by now, also what was put off by errors.

        Asked after `close` if it has raised an `OSError`; unless it is known, no.
        """
        return False

    def parts(self) -> Mapping[str, WriterBase]:
        """The writers this one consists of, by the names used in messages."""
        return {type(self).__name__: self}

    def can_write(self, kind: str) -> bool:
        """Whether there is a place for a kind: `'images'`, `'texts'`, `'arrays'`, ..."""
        method = f"write_{kind}"
        if getattr(type(self), method) is not getattr(WriterBase, method):
            return True
        return kind == "videos" and self.can_write("images")

    def write_summaries(
        self, step: int, values: Mapping[str, Any], *, metadata: Any = None
    ) -> None:
        """Writes things to show: each with the method of its kind.

        Args:
          step: The step they belong to.
          values: Name -> images, text, `Histogram`, `PointCloud` or `Video`.
          metadata: Of no use to the writers here; for your own.

        Raises:
          CannotShowError: If a value is nothing that can be shown. The others are
            written first.
        """
        del metadata
        problems = []
        for name, value in values.items():
            try:
                self._write_summary(step, name, value)
            except _shown_values.CannotShowError as e:
                problems.append(str(e))
        if problems:
            raise _shown_values.CannotShowError("\n".join(problems))

    def _write_summary(self, step: int, name: str, value: Any) -> None:
        match _shown_values.kind_of(name, value):
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
                # Writers from elsewhere may know no speed.
                options = {} if value.fps == 10 else {"fps": value.fps}
                self.write_videos(step, {name: value.frames}, **options)

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

        Inside of a training loop it returns at once: the values are computed and
        written in the background, and waited for when they are looked at.

        Args:
          step: Number of updates applied before it.
          aux: States of the step, or merged states of an evaluation.
          schedules: Name -> function from step to value.
          log_summaries: Whether the summaries are written too.
          timer: Object whose `flush_metrics()` gives rates and durations.
          flush: Whether readers should see the values at once.

        Returns:
          The computed values, without those of what fails.

        Raises:
          Exception: What a loss, metric or summary raises, after the others are written.
            Where problems are collected, as in a training run, it is told instead.
        """
        if (later := background.get()) is not None:
            return later.write_step_metrics(
                self,
                step=step,
                aux=aux,
                schedules=schedules,
                log_summaries=log_summaries,
                timer=timer,
                flush=flush,
            )
        if not log_summaries:
            aux = dataclasses.replace(aux, summary_states=None)
        failures: list[state_trees.Failure] = []
        # In every process: merging may need all of them.
        values = aux.compute(failures=failures)
        schedules = state_trees.at_step(schedules, step, failures)
        if console.is_lead_host():
            self._write_values(step, values, schedules, log_summaries, timer)
            if flush:
                self.flush()
        tell_failures(failures, self.collection)
        return values

    def _write_values(
        self,
        step: int,
        values: auxiliaries.AuxiliariesOutput,
        schedules: Mapping[str, Any],
        log_summaries: bool,
        timer: Any,
    ) -> None:
        scalars, arrays = _shown_values.split_numbers(step, values, schedules)
        if scalars:
            self.write_scalars(step, scalars)
        if arrays:
            self.write_arrays(step, arrays)
        if timer is not None and (timings := timer.flush_metrics()):
            self.write_timings(step, {**timings, **values.throughputs(timings)})
        if log_summaries and values.summary_values:
            self.write_summaries(step, values.summary_values)

    def _cannot_show(self, kind: str, values: Mapping[str, Any]) -> None:
        raise _shown_values.CannotShowError(
            f"{type(self).__name__} cannot show {kind}: {list(values)}. Put a writer that "
            "can beside it: `cfg.writer = {'files': kd.train.KDMetricWriter(), ...}`."
        )


def tell_failures(failures: Sequence[state_trees.Failure], collection: str) -> None:
    """Tells what could not be computed, or raises the first if nobody would know."""
    problems = problem_log.current()
    for failure in failures:
        if problems is None:
            raise failure.error
        what = failure.where(collection)
        problems.failed(what, failure.error, consequence="; the others are written")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoopWriter(WriterBase):
    """Writes nothing."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        pass

    def write_summaries(
        self, step: int, values: Mapping[str, Any], *, metadata: Any = None
    ) -> None:
        pass

    def _cannot_show(self, kind: str, values: Mapping[str, Any]) -> None:
        pass

    def can_write(self, kind: str) -> bool:
        return True


class NoopMetadataWriter:
    """Mixin: keeps a writer from writing what is known at the start of a run."""

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        pass

    def write_config(self, config: Any) -> None:
        pass

    def write_param_overview(self, step: int, params: Any) -> None:
        pass

    def write_element_spec(self, step: int, element_spec: Any) -> None:
        pass

    def write_context_structure(self, step: int, trainer: Any) -> None:
        pass
