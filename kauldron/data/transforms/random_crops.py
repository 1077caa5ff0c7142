"""Random crops and flips, identical for all keys of an example."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron.data import _columns, _errors
from kauldron.data._draws import Draws
from kauldron.data.transforms import _resampling, base, images


@dataclasses.dataclass(frozen=True, kw_only=True)
class VectorRandomTransform(base.ElementWiseRandomTransform):
    """Base of random transforms that work on many examples at once.

    Derive and implement `random_batch`. The numbers drawn for an example do not depend on
    which others are in the batch.
    """

    @abc.abstractmethod
    def random_batch(
        self, values: np.ndarray | Sequence[np.ndarray], draws: Draws
    ) -> Any:
        """Returns the changed values of one key.

        Args:
          values: An array `[n, ...]`, or a list of n arrays of any shapes.
          draws: One stream per example, the same for all keys.

        Returns:
          An array or a list of as many.
        """

    def random_map_element(self, element: Any, rng: np.random.Generator) -> Any:
        seed = rng.integers(2**63, size=1).astype(np.uint64)
        return self.random_batch([np.asarray(element)], Draws(seed))[0]

    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        ids = rng.integers(2**63, size=1).astype(np.uint64)
        columns = {key: [value] for key, value in element.items()}
        return _columns.row(self.random_columns(columns, Draws(ids)), 0)

    def random_columns(self, columns: Mapping[str, Any], draws: Draws) -> Any:
        """Changes columns, see `_columns`."""
        present = self._present(columns)
        self._check(columns, list(present))
        every_row = slice(None)
        changed = {
            out: self.random_batch(_values(columns[key]), draws.select(every_row))
            for key, out in present.items()
        }
        return {**columns, **changed}

    def _check(self, columns: Mapping[str, Any], keys: list[str]) -> None:
        """Raises if the keys do not fit together; to override."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomFlipLeftRight(VectorRandomTransform):
    """Mirrors images `[*b h w c]` left to right with a probability of one half.

    All images of an example are mirrored, or none.
    """

    def random_batch(
        self, values: np.ndarray | Sequence[np.ndarray], draws: Draws
    ) -> Any:
        return _flip(values, draws.uniform() < 0.5, axis=-2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomFlipUpDown(VectorRandomTransform):
    """Mirrors images `[*b h w c]` top to bottom with a probability of one half."""

    def random_batch(
        self, values: np.ndarray | Sequence[np.ndarray], draws: Draws
    ) -> Any:
        return _flip(values, draws.uniform() < 0.5, axis=-3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomCrop(VectorRandomTransform):
    """Cuts a window out of arrays, at a random place.

    Attributes:
      shape: Shape of the result; `None` keeps an axis.

    Raises:
      DataError: If an array has another number of axes or is smaller, or if the keys
        differ in the axes that are cropped.
    """

    shape: Sequence[int | None]

    def random_batch(
        self, values: np.ndarray | Sequence[np.ndarray], draws: Draws
    ) -> Any:
        starts: list[np.ndarray] = []
        olds = [np.shape(value) for value in values]
        news = [images.crop_shape("RandomCrop", old, self.shape) for old in olds]
        for axis in range(len(self.shape)):
            room = np.array([old[axis] for old in olds]) - [n[axis] for n in news] + 1
            # An axis that is kept draws too: keys of other ranks stay aligned.
            starts.append(draws.integers(0, room))
        windows = zip(values, news, *starts, strict=True)
        crops = [
            value[tuple(slice(s, s + n) for s, n in zip(start, new, strict=True))]
            for value, new, *start in windows
        ]
        return np.stack(crops) if isinstance(values, np.ndarray) else crops

    def _check(self, columns: Mapping[str, Any], keys: list[str]) -> None:
        cropped = [axis for axis, size in enumerate(self.shape) if size is not None]
        values = [_values(columns[key]) for key in keys]
        for of_example in zip(*values, strict=True):
            shapes = [np.shape(value) for value in of_example]
            if any(len(shape) != len(self.shape) for shape in shapes):
                return  # `random_batch` says what is expected
            for shape in shapes:
                if any(shape[axis] != shapes[0][axis] for axis in cropped):
                    raise _errors.DataError(
                        f"RandomCrop: {keys} have different sizes in one example: "
                        f"{shapes}. What is cropped together must be of one size."
                    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _RandomPart(VectorRandomTransform):
    area_range: tuple[float, float] = (0.08, 1.0)
    aspect_range: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.area_range
        if not 0 < low <= high <= 1:
            raise _errors.DataError(
                f"{type(self).__name__}: `area_range` is (low, high) within (0, 1]: got "
                f"{self.area_range!r}."
            )

    @abc.abstractmethod
    def _size_and_method(self) -> tuple[Any, Any]:
        """Returns the size of the result (`None`: that of the part), and the method."""

    def random_columns(self, columns: Mapping[str, Any], draws: Draws) -> Any:
        every_row = slice(None)
        changed = {
            out: self._crop_all(_values(columns[key]), draws.select(every_row), key)
            for key, out in self._present(columns).items()
        }
        return {**columns, **changed}

    def random_batch(
        self, values: np.ndarray | Sequence[np.ndarray], draws: Draws
    ) -> Any:
        return self._crop_all(values, draws, None)

    def _crop_all(
        self, values: np.ndarray | Sequence[np.ndarray], draws: Draws, key: str | None
    ) -> Any:
        old = np.array([np.shape(v)[-3:-1] for v in values]).reshape(len(values), -1)
        if old.shape[1] != 2:
            raise _errors.DataError(
                f"{type(self).__name__}: images have axes h, w, c: got an array of "
                f"shape {np.shape(values[0])}."
            )
        size, method = self._size_and_method()
        if isinstance(method, Mapping):
            method = method.get(key, "bilinear")
        if size is not None:
            size = tuple(size) if isinstance(size, Sequence) else (size, size)
        return [
            _resampling.crop_and_resize(value, tuple(box), size or box[2:], method)
            for value, box in zip(values, self._boxes(old, draws).tolist(), strict=True)
        ]

    def _boxes(self, sizes: np.ndarray, draws: Draws) -> np.ndarray:
        """Returns top, left, height, width of the parts, `i64[n 4]`."""
        heights, widths = sizes.T
        low, high = self.aspect_range
        chosen_h, chosen_w = heights.copy(), widths.copy()
        is_open = np.ones(len(sizes), bool)
        for _ in range(10):  # a part that does not fit is drawn again
            area = draws.uniform(*self.area_range) * heights * widths
            aspect = np.exp(draws.uniform(np.log(low), np.log(high)))
            h = np.rint(np.sqrt(area / aspect)).astype(np.int64)
            w = np.rint(np.sqrt(area * aspect)).astype(np.int64)
            fits = is_open & (h > 0) & (w > 0) & (h <= heights) & (w <= widths)
            chosen_h, chosen_w = (
                np.where(fits, h, chosen_h),
                np.where(fits, w, chosen_w),
            )
            is_open &= ~fits
        top = draws.integers(0, heights - chosen_h + 1)
        left = draws.integers(0, widths - chosen_w + 1)
        return np.stack([top, left, chosen_h, chosen_w], axis=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(_RandomPart):
    """Cuts a random part out of images `[*b h w c]` and resizes it.

    Attributes:
      size: (height, width) of the result, or one number for both.
      area_range: Smallest and largest share of the image's area, in (0, 1].
      aspect_range: Smallest and largest width / height.
      method: As in `Resize`. For label maps, a dict by key: `{'mask': 'nearest'}`; other
        keys use 'bilinear'.

    Reference: Szegedy et al. 2015, Going Deeper with Convolutions, sec. 6.
    """

    size: int | tuple[int, int]
    method: Any = "bilinear"

    def _size_and_method(self) -> tuple[Any, Any]:
        return self.size, self.method


@dataclasses.dataclass(frozen=True, kw_only=True)
class InceptionCrop(_RandomPart):
    """`RandomResizedCrop` with its published name, arguments and defaults.

    Attributes:
      resize_size: (height, width) of the result, or one number for both; `None` leaves
        the part as it is.
      resize_method: As `method` of `RandomResizedCrop`.
      area_range: Smallest and largest share of the image's area, in (0, 1].
      aspect_range: Smallest and largest width / height.
    """

    resize_size: int | tuple[int, int] | None = None
    resize_method: Any = "bilinear"
    area_range: tuple[float, float] = (0.05, 1.0)

    def _size_and_method(self) -> tuple[Any, Any]:
        return self.resize_size, self.resize_method


def _flip(
    values: np.ndarray | Sequence[np.ndarray], mirrored: np.ndarray, axis: int
) -> Any:
    if isinstance(values, np.ndarray):
        flipped = values.copy()
        for row in np.flatnonzero(mirrored):
            flipped[row] = np.flip(values[row], axis)
        return flipped
    return [
        np.flip(value, axis) if flip else np.asarray(value)
        for value, flip in zip(values, mirrored, strict=True)
    ]


def _values(column: Any) -> Any:
    if _columns.is_stackable(column):
        return _columns.stack(column)
    return [np.asarray(value) for value in _columns.rows(column)]
