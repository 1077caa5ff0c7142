"""A writer of videos as GIF files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from etils import epath

from kauldron import summaries, train


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class GifVideoWriter(train.KDMetricWriter):
    """`kd.train.KDMetricWriter` that writes videos as GIF files as well.

    They are `workdir/<collection>/videos/<name>/step_<step>_<i>.gif`.

    Attributes:
      write_video_summaries: Whether TensorBoard gets the videos, too.
    """

    write_video_summaries: bool = True

    def write_videos(
        self, step: int, videos: Mapping[str, Any], *, fps: float = 10.0
    ) -> None:
        for name, frames in videos.items():
            folder = self._video_folder / name
            folder.mkdir(parents=True, exist_ok=True)
            for i, gif in enumerate(summaries.Video(frames, fps=fps).to_gifs()):
                (folder / f"step_{step}_{i}.gif").write_bytes(gif)
        if self.write_video_summaries:
            super().write_videos(step, videos, fps=fps)

    def rewind(self, step: int) -> None:
        super().rewind(step)
        if self._video_folder.exists():
            _delete_from(self._video_folder, step)

    @property
    def _video_folder(self) -> epath.Path:
        self._assert_root_cfg_resolved()
        return epath.Path(self.workdir) / self.collection / "videos"


def _delete_from(folder: epath.Path, step: int) -> None:
    """Deletes the files of a step and of later ones, in all folders inside."""
    for path in folder.iterdir():
        match = re.fullmatch(r"step_(\d+)_\d+\.gif", path.name)
        if match and int(match[1]) >= step:
            path.unlink()
        elif path.is_dir():
            _delete_from(path, step)
