"""Sampling of video frames."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron import data

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Clip(abc.ABC):
    num_frames: int
    stride: int = 1

    def _check_parameters(self) -> None:
        if self.num_frames < 1 or self.stride < 1:
            raise data.DataError(
                f"{type(self).__name__}: `num_frames` and `stride` are at least 1: got "
                f"{self.num_frames} and {self.stride}."
            )

    def _room(self, video: np.ndarray) -> int:
        """Returns the last frame at which a clip can begin."""
        span = (self.num_frames - 1) * self.stride + 1
        length = video.shape[0] if video.ndim else 0
        if length < span:
            raise data.DataError(
                f"{type(self).__name__}: {self.num_frames} frames with a stride of "
                f"{self.stride} need {span} frames: there are {length}. Lower them, or "
                "repeat frames first with `kd.contrib.data.RepeatFrames`."
            )
        return length - span

    def _take(self, video: np.ndarray, start: int) -> np.ndarray:
        return video[start :: self.stride][: self.num_frames]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _FixedClip(_Clip, data.ElementWiseTransform):
    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_parameters()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstClip(_FixedClip):
    """Takes the first frames of `[t ...]`.

    Attributes:
      num_frames: How many.
      stride: From one to the next.

    Raises:
      DataError: If there are fewer frames.
    """

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        video = np.asarray(element)
        self._room(video)
        return self._take(video, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MiddleClip(_FixedClip):
    """Takes frames from the middle of `[t ...]`.

    Attributes:
      num_frames: How many.
      stride: From one to the next.

    Raises:
      DataError: If there are fewer frames.
    """

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        video = np.asarray(element)
        return self._take(video, self._room(video) // 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiClip(_FixedClip):
    """Takes several clips of `[t ...]`, evenly from the beginning to the end.

    Attributes:
      num_frames: How many frames a clip has.
      stride: From one frame to the next.
      num_clips: How many clips; a single one is in the middle. They may overlap.

    Returns: `[num_clips num_frames ...]`.

    Raises:
      DataError: If there are fewer frames than in a clip.
    """

    num_clips: int

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        video = np.asarray(element)
        room = self._room(video)
        if self.num_clips == 1:
            return self._take(video, room // 2)[None]
        starts = np.linspace(0, room, self.num_clips).round().astype(int)
        return np.stack([self._take(video, start) for start in starts])


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomClip(_Clip, data.ElementWiseRandomTransform):
    """Takes frames of `[t ...]` from a random place, the same for all keys.

    Attributes:
      num_frames: How many.
      stride: From one to the next.

    Raises:
      DataError: If there are fewer frames.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_parameters()

    def random_map_element(self, element: Any, rng: np.random.Generator) -> np.ndarray:
        video = np.asarray(element)
        return self._take(video, int(rng.integers(self._room(video) + 1)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepeatFrames(data.ElementWiseTransform):
    """Repeats `[t ...]` from its beginning until there are enough frames.

    Attributes:
      min_frames: How many there are at least.

    Raises:
      DataError: If there is no frame at all.
    """

    min_frames: int

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        video = np.asarray(element)
        if not video.ndim or not len(video):
            raise data.DataError(f"RepeatFrames({self.key!r}): there is no frame.")
        times = -(-self.min_frames // len(video))
        if times <= 1:
            return video
        return np.concatenate([video] * times)[: self.min_frames]
