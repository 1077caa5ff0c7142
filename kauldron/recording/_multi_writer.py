"""`MultiWriter`: several writers at once, each on its own."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from kauldron._base import errors, frozen_dict
from kauldron.recording import _shown_values, _writer_base


class WriterError(errors.UserError, TypeError):
    """Something that is no writer."""


def _to_each(name: str) -> Any:
    """Returns the method of `WriterBase` that tells each part."""
    base_method = getattr(_writer_base.WriterBase, name)
    kind = name.removeprefix("write_")

    @functools.wraps(base_method)
    def method(self: MultiWriter, *args: Any, **kwargs: Any) -> None:
        parts = self.parts().values()
        if kind in _shown_values.KINDS:
            parts = [part for part in parts if part.can_write(kind)]
            if not parts:
                base_method(self, *args, **kwargs)  # says that there is no place for it
        _call_all(parts, lambda part: getattr(part, name)(*args, **kwargs))

    vars(method)["__isabstractmethod__"] = False  # `wraps` has copied it
    return method


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MultiWriter(_writer_base.WriterBase):
    """Several writers; one that fails or is slow does not concern the others.

    A value is given to the writers that have a place for it.

    In a config, `cfg.writer = {"files": kd.train.KDMetricWriter(), "mine": ...}` is short
    for it.

    Attributes:
      writers: Name -> writer.

    Raises:
      WriterError: If one of them is no writer.
    """

    writers: Mapping[str, _writer_base.WriterBase]

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

    def parts(self) -> Mapping[str, _writer_base.WriterBase]:
        found = {}
        for name, writer in self.writers.items():
            if isinstance(writer, MultiWriter):
                found |= {f"{name}.{k}": part for k, part in writer.parts().items()}
            else:
                found[name] = writer
        return found

    def can_write(self, kind: str) -> bool:
        return any(part.can_write(kind) for part in self.parts().values())

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


def as_writer(writer: Any, name: str = "writer") -> _writer_base.WriterBase:
    """Returns a writer: `None` is one that writes nothing, a dict is several.

    Raises:
      WriterError: If it is something else.
    """
    if writer is None:
        return _writer_base.NoopWriter()
    if isinstance(writer, Mapping):
        return MultiWriter(writers=writer)
    if isinstance(writer, _writer_base.WriterBase):
        return writer
    raise WriterError(
        f"`{name}` must be a writer such as `kd.train.KDMetricWriter()`, or a dict "
        f"{{name: writer}}: got {writer!r}."
    )


def _call_all(parts: Any, call: Callable[[Any], None]) -> None:
    """Calls for each part, also after one has raised; raises the first error."""
    failures = []
    for part in parts:
        try:
            call(part)
        except Exception as e:
            failures.append(e)
    if failures:
        raise failures[0]
