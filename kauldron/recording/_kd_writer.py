"""`KDMetricWriter`: TensorBoard event files, JSON lines, and image files."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from kauldron import konfig
from kauldron.recording import (
    _attempts,
    _event_file,
    _event_messages,
    _writer_base,
    measured,
    picture_files,
    run_tables,
)
from kauldron.workdir import json_lines


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class KDMetricWriter(_writer_base.WriterBase):
    """Writes TensorBoard events per collection, and JSON lines for any other tool.

    `workdir/<collection>/` holds the event files. `workdir/metrics.jsonl` has a line per
    collection and step, a function of config and seed alone; rates and durations are in
    `workdir/timings.jsonl`. NaN and infinities are the strings `"NaN"`, `"Infinity"`,
    `"-Infinity"` there, so that every line is strict JSON.

    While the disk is full, up to 10,000 records per file and 64 MiB of events wait in
    memory and are written later. Anything beyond that is lost, and reported as lost.

    Without a workdir (`trainer.evals["eval"].evaluate(...)` in a notebook) nothing is
    written.

    Attributes:
      save_images: Whether pictures are also written as files:
        `workdir/<collection>/images/<name>/step_<step>_<i>.png`, `.gif` for videos.
      add_artifacts: Accepted for compatibility.
    """

    save_images: bool = False
    add_artifacts: bool = True

    @functools.cached_property
    def _events(self) -> _event_file.EventFile:
        purge_step = self.__dict__.get("_purge_step")
        return _event_file.EventFile(self._folder, purge_step=purge_step)

    @functools.cached_property
    def _record_files(self) -> Mapping[str, json_lines.RecordFile]:
        self._assert_root_cfg_resolved()
        names = (json_lines.METRICS_FILE, json_lines.TIMINGS_FILE)
        return {x: json_lines.RecordFile(epath.Path(self.workdir) / x) for x in names}

    @property
    def _folder(self) -> epath.Path:
        self._assert_root_cfg_resolved()
        return epath.Path(self.workdir) / self.collection

    @property
    def _image_folder(self) -> epath.Path:
        return self._folder / "images"

    def write(self, step: int, values: measured.Measured) -> None:
        # A trainer without a workdir, in a notebook: what is measured is returned.
        if self.workdir is not None:
            super().write(step, values)

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self._write_numbers(json_lines.METRICS_FILE, step, scalars)

    def write_timings(self, step: int, timings: Mapping[str, float]) -> None:
        self._write_numbers(json_lines.TIMINGS_FILE, step, timings)

    def _write_numbers(
        self, file: str, step: int, scalars: Mapping[str, float]
    ) -> None:
        values = [_event_messages.scalar(k, v) for k, v in scalars.items()]
        # One file that cannot be written is no reason to leave out the other.
        _attempts.call_all(
            [
                lambda: self._append(file, step, scalars),
                lambda: self._add_event(step, values),
            ]
        )

    def write_arrays(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        # TensorBoard has no tables: they are in the JSON lines only.
        values = {k: np.asarray(v).tolist() for k, v in arrays.items()}
        self._append(json_lines.METRICS_FILE, step, values)

    def _append(self, file: str, step: int, values: Mapping[str, Any]) -> None:
        records = self._record_files[file]
        records.append(step, self.collection, values, flush=not self._is_gathering)

    def _add_event(self, step: int, values: Iterable[bytes]) -> None:
        self._events.add(step, values, flush=not self._is_gathering)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, batch in images.items():
            pngs = [picture_files.to_png(image) for image in batch]
            self._write_pictures(step, name, pngs, "png", np.shape(batch)[1:])

    def write_videos(
        self, step: int, videos: Mapping[str, np.ndarray], *, fps: float = 10.0
    ) -> None:
        for name, batch in videos.items():
            gifs = picture_files.to_gifs(batch, fps)
            self._write_pictures(step, name, gifs, "gif", np.shape(batch)[2:])

    def _write_pictures(
        self,
        step: int,
        name: str,
        contents: list[bytes],
        ending: str,
        shape: tuple[int, ...],
    ) -> None:
        values = [
            _event_messages.encoded_image(f"{name}/{i}", content, shape)
            for i, content in enumerate(contents)
        ]
        calls: list[Callable[[], None]] = [lambda: self._add_event(step, values)]
        if self.save_images:
            calls.append(lambda: self._save(step, name, contents, ending))
        _attempts.call_all(calls)

    def _save(self, step: int, name: str, contents: list[bytes], ending: str) -> None:
        try:
            picture_files.write(self._image_folder, name, step, contents, ending)
        except OSError:
            self._count_lost("pictures", len(contents))  # they are not tried again
            raise

    def write_audios(
        self, step: int, audios: Mapping[str, np.ndarray], *, sample_rate: int
    ) -> None:
        for name, batch in audios.items():
            values = [
                _event_messages.audio(f"{name}/{i}", x, sample_rate)
                for i, x in enumerate(batch)
            ]
            self._add_event(step, values)

    def write_texts(self, step: int, texts: Mapping[str, str | np.ndarray]) -> None:
        for name, text in texts.items():
            value = _event_messages.text(name, measured.as_text(text))
            self._add_event(step, [value])

    def write_histograms(
        self, step: int, arrays: Mapping[str, np.ndarray], *, num_buckets: int
    ) -> None:
        from tensorboardX import summary

        for name, array in arrays.items():
            values = np.asarray(array, np.float64).ravel()
            finite = values[np.isfinite(values)]
            if finite.size:
                message = summary.histogram(name, finite, bins=num_buckets)
                self._add_event(step, _encoded(message))

    def write_pointcloud(
        self,
        step: int,
        point_clouds: Mapping[str, np.ndarray],
        *,
        point_colors: Mapping[str, np.ndarray | None],
        configs: Mapping[str, Any] | None = None,
    ) -> None:
        from tensorboardX import summary

        for name, points in point_clouds.items():
            colors = point_colors.get(name)
            config = (configs or {}).get(name)
            message = summary.mesh(name, points, colors, None, config)
            self._add_event(step, _encoded(message))

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        self._add_event(0, _event_messages.hparams(hparams))

    def write_config(self, config: konfig.ConfigDict) -> None:
        self.write_texts(0, {"config": f"```python\n{config!r}\n```"})

    def write_param_overview(self, step: int, params: object) -> None:
        table, num_params = run_tables.parameters(params)
        self.write_texts(step, {"parameters": table})
        self._add_event(step, [_event_messages.scalar("num_params", num_params)])

    def write_element_spec(self, step: int, element_spec: object) -> None:
        self.write_texts(step, {"element_spec": run_tables.shapes(element_spec)})

    def write_context_structure(
        self, step: int, trainer: measured.HasContextSpecs
    ) -> None:
        table = run_tables.shapes(trainer.context_specs)
        self.write_texts(step, {"context_spec": table})

    def rewind(self, step: int) -> None:
        _attempts.call_all([self.close, functools.partial(self._take_back, step)])

    def _take_back(self, step: int) -> None:
        # TensorBoard hides events of this step and later that were written before.
        vars(self)["_purge_step"] = step
        for records in self._record_files.values():
            records.rewind(step, self.collection)
        if self._image_folder.exists():
            picture_files.rewind(self._image_folder, step)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        # Opening, locking and closing a file takes longer than a line of it.
        vars(self)["_is_gathering"] = True
        try:
            yield
        finally:
            vars(self)["_is_gathering"] = False
            self.flush()

    @functools.cached_property
    def _is_gathering(self) -> bool:
        return False

    def flush(self) -> None:
        if self._is_gathering:
            return
        _attempts.call_all(
            x.flush for x in [*self._open_records(), *self._open_events()]
        )

    def close(self) -> None:
        calls = [records.flush for records in self._open_records()]
        _attempts.call_all([*calls, self._close_events])

    def _open_records(self) -> list[json_lines.RecordFile]:
        return [*self._record_files.values()] if "_record_files" in vars(self) else []

    def _open_events(self) -> list[_event_file.EventFile]:
        return [self._events] if "_events" in vars(self) else []

    def _close_events(self) -> None:
        for events in self._open_events():
            del vars(self)["_events"]
            try:
                events.close()
            finally:  # the next file does not have what this one still keeps
                self._count_lost("events", events.num_unwritten)

    def unwritten(self) -> Mapping[str, int]:
        records = sum(x.num_unwritten for x in self._open_records())
        events = sum(x.num_unwritten for x in self._open_events())
        return {
            "records": records,
            "events": events + self._lost.get("events", 0),
            "pictures": self._lost.get("pictures", 0),
        }

    @functools.cached_property
    def _lost(self) -> dict[str, int]:
        return {}

    def _count_lost(self, what: str, count: int) -> None:
        self._lost[what] = self._lost.get(what, 0) + count


def _encoded(summary: Any) -> list[bytes]:
    """Returns the values of a summary that tensorboardX has made."""
    return [value.SerializeToString() for value in summary.value]
