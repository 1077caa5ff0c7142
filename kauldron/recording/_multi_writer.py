"""`MultiWriter`: fans out to several writers, independent of each other."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kauldron._base import errors, frozen_dict, problem_log
from kauldron.recording import (
    _attempts,
    _by_kind,
    _step_states,
    _writer,
    _writer_base,
    measured,
)

if TYPE_CHECKING:  # a writer alone needs no JAX
    from kauldron.step import auxiliaries


class WriterError(errors.UserError, TypeError):
    """Something that is not a writer."""


def _to_each(name: str) -> Any:
    """Returns the method of `WriterBase` that calls each part."""
    base_method = getattr(_writer_base.WriterBase, name)
    kind = name.removeprefix("write_")

    @functools.wraps(base_method)
    def method(self: MultiWriter, *args: Any, **kwargs: Any) -> None:
        parts = self.parts().values()
        if kind in measured.KINDS:
            parts = [part for part in parts if part.can_write(kind)]
            if not parts:
                base_method(self, *args, **kwargs)  # says that there is no place for it
        _attempts.call_all(
            functools.partial(_call, part, name, *args, **kwargs) for part in parts
        )

    vars(method)["__isabstractmethod__"] = False  # `wraps` has copied it
    return method


def _call(part: _writer.Writer, name: str, *args: Any, **kwargs: Any) -> None:
    if hasattr(part, name):
        getattr(part, name)(*args, **kwargs)
    elif (values := _by_kind.to_measured(name, *args, **kwargs)) is not None:
        part.write(args[0], values)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MultiWriter(_writer_base.WriterBase):
    """Several writers; one that fails or is slow does not affect the others.

    Each value goes to the writers that have a place for it.

    In a config, `cfg.writer = {"files": kd.train.KDMetricWriter(), "mine": ...}` is short
    for it.

    Attributes:
      writers: Name -> writer.

    Raises:
      WriterError: If one of them is not a writer.
    """

    writers: Mapping[str, _writer.Writer]

    __root_cfg_fields_to_recurse__: ClassVar[tuple[str, ...]] = ("writers",)

    def __post_init__(self) -> None:
        if not isinstance(self.writers, Mapping) or not self.writers:
            raise WriterError(
                "`writers` must be a dict `{name: writer}` with at least one: got "
                f"{self.writers!r}."
            )
        members = {k: as_writer(w, f"writer[{k!r}]") for k, w in self.writers.items()}
        if self.collection != "$not_set$":
            members = {
                name: w.replace(collection=self.collection)
                for name, w in members.items()
            }
        object.__setattr__(self, "writers", frozen_dict.ImmutableDict(members))

    def parts(self) -> Mapping[str, _writer.Writer]:
        found = {}
        for name, writer in self.writers.items():
            if isinstance(writer, MultiWriter):
                found |= {f"{name}.{k}": part for k, part in writer.parts().items()}
            else:
                found[name] = writer
        return found

    def can_write(self, kind: str) -> bool:
        return any(part.can_write(kind) for part in self.parts().values())

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for part in self.parts().values():
                stack.enter_context(part.together())
            yield

    def takes_states(self) -> bool:
        return any(part.takes_states() for part in self.parts().values())

    def _hand_over(
        self, parts: Mapping[str, _writer.Writer], states: _step_states.StepStates
    ) -> auxiliaries.AuxiliariesOutput:
        rest = dict(parts)
        errors = []
        for name, part in parts.items():
            if part.takes_states():
                try:
                    _write_step_metrics(rest.pop(name), states)
                except Exception as e:
                    errors.append((name, e))
        output = super()._hand_over(rest, states)
        problems = problem_log.current()
        if problems is None:
            _attempts.raise_all([e for _, e in errors])
        else:
            for name, e in errors:
                problems.failed(
                    f"the writer {name!r}", e, consequence="; this stops nothing"
                )
        return output

    write = _to_each("write")
    describe = _to_each("describe")
    write_scalars = _to_each("write_scalars")
    write_timings = _to_each("write_timings")
    write_arrays = _to_each("write_arrays")
    write_images = _to_each("write_images")
    write_texts = _to_each("write_texts")
    write_histograms = _to_each("write_histograms")
    write_pointcloud = _to_each("write_pointcloud")
    write_videos = _to_each("write_videos")
    write_audios = _to_each("write_audios")
    write_hparams = _to_each("write_hparams")
    write_config = _to_each("write_config")
    write_param_overview = _to_each("write_param_overview")
    write_element_spec = _to_each("write_element_spec")
    write_context_structure = _to_each("write_context_structure")
    rewind = _to_each("rewind")
    flush = _to_each("flush")
    close = _to_each("close")


def as_writer(writer: Any, name: str = "writer") -> _writer.Writer:
    """Returns a writer: `None` is one that writes nothing, a dict is several.

    Raises:
      WriterError: If it is something else.
    """
    if writer is None:
        return _writer_base.NoopWriter()
    if isinstance(writer, Mapping):
        return MultiWriter(writers=writer)
    if isinstance(writer, _writer.Writer):
        return writer
    raise WriterError(
        f"`{name}` must be a writer such as `kd.train.KDMetricWriter()`, or a dict "
        f"{{name: writer}}: got {writer!r}."
    )


@dataclasses.dataclass(frozen=True)
class _Reading:
    """One reading of a timer, for each of several writers that ask for it."""

    timings: Mapping[str, float]

    def flush_metrics(self) -> Mapping[str, float]:
        return self.timings


def _write_step_metrics(part: _writer.Writer, states: _step_states.StepStates) -> None:
    part.write_step_metrics(
        step=states.step,
        aux=states.aux,
        schedules=states.schedules,
        log_summaries=states.log_summaries,
        timer=_Reading(states.timings),
        flush=states.flush,
    )
