"""A writer of summaries and other values as arrays in `.npz` files."""

from __future__ import annotations

import dataclasses
import fnmatch
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from kauldron import train


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NpzWriter(train.NoopWriter):
    """Writes `<output_dir>/step_<step>.npz`, an array for each name.

    Of images, videos, histograms, point clouds, sound and tables; `summaries/x` is the
    name of an array. To be put beside the usual writer: `cfg.writer = {"files":
    kd.train.KDMetricWriter(), "npz": kd.contrib.train.NpzWriter()}`.

    Attributes:
      key_patterns: Globs of the names that are written, such as `'summaries/*'`; `None`
        writes all.
      save_scalars: Whether numbers are written, too.
      output_dir: The folder; `workdir/<collection>/npz` unless given.
      static_info: Arrays that stand in every file.
    """

    key_patterns: Sequence[str] | None = None
    save_scalars: bool = False
    output_dir: epath.PathLike | None = None
    static_info: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        if self.save_scalars:
            self._write(step, scalars)

    def write_arrays(self, step: int, arrays: Mapping[str, Any]) -> None:
        self._write(step, arrays)

    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        self._write(step, images)

    def write_texts(self, step: int, texts: Mapping[str, Any]) -> None:
        self._write(step, {k: np.asarray(v, np.str_) for k, v in texts.items()})

    def write_histograms(
        self, step: int, arrays: Mapping[str, Any], *, num_buckets: int
    ) -> None:
        del num_buckets
        self._write(step, arrays)

    def write_pointcloud(
        self,
        step: int,
        point_clouds: Mapping[str, Any],
        *,
        point_colors: Mapping[str, Any],
        configs: Mapping[str, Any] | None = None,
    ) -> None:
        del configs
        colors = {f"{k}_colors": v for k, v in point_colors.items() if v is not None}
        self._write(step, {**point_clouds, **colors})

    def write_videos(
        self, step: int, videos: Mapping[str, Any], *, fps: float = 10.0
    ) -> None:
        del fps
        self._write(step, videos)

    def write_audios(
        self, step: int, audios: Mapping[str, Any], *, sample_rate: int
    ) -> None:
        del sample_rate
        self._write(step, audios)

    def write_summaries(
        self, step: int, values: Mapping[str, Any], *, metadata: Any = None
    ) -> None:
        train.WriterBase.write_summaries(self, step, values, metadata=metadata)

    def rewind(self, step: int) -> None:
        for file in self._folder.glob("step_*.npz") if self._folder.exists() else ():
            match = re.fullmatch(r"step_(\d+)\.npz", file.name)
            if match and int(match[1]) >= step:
                file.unlink()

    @property
    def _folder(self) -> epath.Path:
        if self.output_dir is not None:
            return epath.Path(self.output_dir)
        self._assert_root_cfg_resolved()
        return epath.Path(self.workdir) / self.collection / "npz"

    def _write(self, step: int, arrays: Mapping[str, Any]) -> None:
        """Adds arrays to the file of a step, which is replaced as a whole."""
        chosen = {k: np.asarray(v) for k, v in arrays.items() if self._is_wanted(k)}
        if not chosen:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"step_{step}.npz"
        known = {k: np.asarray(v) for k, v in self.static_info.items()}
        if path.exists():
            with path.open("rb") as file, np.load(file) as written:
                known |= dict(written)
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **{**known, **chosen})
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(content.getvalue())
        temporary.replace(path)

    def _is_wanted(self, name: str) -> bool:
        if self.key_patterns is None:
            return True
        return any(fnmatch.fnmatchcase(name, p) for p in self.key_patterns)
