"""Value transforms: dtype, range, layout."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron.data import _errors
from kauldron.data.transforms import _numbers, base

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cast(base.ElementWiseTransform):
    """Changes the dtype of values.

    Floats lose their fraction when they become integers; texts that spell numbers become
    them; whatever is not 0 is true. A number that the dtype cannot hold is refused.

    Attributes:
      dtype: Anything that names a NumPy dtype; `'bfloat16'` too.

    Raises:
      DataError: If a value does not fit: 300 in uint8, NaN in an integer, 1e6 in float16.
    """

    dtype: Any

    @functools.cached_property
    def _dtype(self) -> np.dtype:
        return as_dtype(self.dtype)

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        return _numbers.cast(f"Cast({self.key!r})", np.asarray(element), self._dtype)

    map_batch = map_element


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValueRange(base.ElementWiseTransform):
    """Maps values linearly from one range to another.

    Attributes:
      vrange: (low, high) of the results.
      in_vrange: (low, high) of the input; bytes by default.
      dtype: Of the results. The arithmetic is in f32, or f64 for f64.
      clip_values: Whether results outside `vrange` are moved to its border.

    Raises:
      DataError: If a range isn't a pair of numbers, `in_vrange` is empty, or `dtype`
        cannot hold `vrange`; later, if it cannot hold a value, or the input is not a
        number.
    """

    vrange: tuple[float, float]
    in_vrange: tuple[float, float] = (0, 255)
    dtype: Any = np.float32
    clip_values: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("vrange", "in_vrange"):
            bounds = getattr(self, name)
            if not isinstance(bounds, Sequence) or len(bounds) != 2:
                raise _errors.DataError(
                    f"ValueRange: `{name}` is a pair (low, high): got {bounds!r}."
                )
        if self.in_vrange[0] == self.in_vrange[1]:
            raise _errors.DataError(
                f"ValueRange: `in_vrange` is empty: got {self.in_vrange!r}."
            )
        dtype = as_dtype(self.dtype)
        if dtype.kind in "iu":
            bounds = np.iinfo(dtype)
            if min(self.vrange) < bounds.min or max(self.vrange) > bounds.max:
                raise _errors.DataError(
                    f"ValueRange: {dtype} cannot hold `vrange={self.vrange!r}`. Leave "
                    "out `dtype` for float32."
                )

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        owner = f"ValueRange({self.key!r})"
        element = _numbers.real(owner, element)
        dtype, compute_dtype, scale, offset = self._constants
        scaled = np.multiply(element, scale, dtype=compute_dtype)
        if scaled.ndim == 0:
            scaled = np.array(scaled)  # a scalar has no `out=`
        if offset:
            scaled += offset
        if self.clip_values and not self._is_inside(element.dtype):
            np.clip(scaled, min(self.vrange), max(self.vrange), out=scaled)
        if dtype == compute_dtype:
            return scaled
        if dtype.kind in "iu":
            np.rint(scaled, out=scaled)
        return _numbers.cast(owner, scaled, dtype)

    map_batch = map_element

    @functools.cached_property
    def _constants(self) -> tuple[np.dtype, np.dtype, Any, Any]:
        dtype = as_dtype(self.dtype)
        compute_dtype = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        in_low, in_high = self.in_vrange
        low, high = self.vrange
        scale = (high - low) / (in_high - in_low)
        offset = low - in_low * scale
        return dtype, compute_dtype, compute_dtype.type(scale), offset

    def _is_inside(self, dtype: np.dtype) -> bool:
        # Bytes cannot leave (0, 255): clipping them would be a pass over the data for
        # nothing.
        if dtype.kind not in "iu" or dtype.itemsize > 2:
            return False
        info = np.iinfo(dtype)
        return min(self.in_vrange) <= info.min and info.max <= max(self.in_vrange)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rearrange(base.ElementWiseTransform):
    """Moves, splits and merges axes with einops.

    Attributes:
      pattern: For one element, e.g. `'h w c -> (h w) c'` or `'... -> ... 1'`.
      axes_lengths: Sizes of axes that the pattern splits.

    Reference: Rogozhnikov 2022, Einops, ICLR.
    """

    pattern: str
    axes_lengths: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        import einops

        return einops.rearrange(np.asarray(element), self.pattern, **self.axes_lengths)

    def map_batch(self, values: np.ndarray) -> np.ndarray:
        """Rearranges each of the rows."""
        if self.pattern in ("... -> ... 1", "->1", "-> 1"):
            return values[..., None]  # labels; einops takes 20 times as long
        import einops

        return einops.rearrange(values, self._batch_pattern, **self.axes_lengths)

    @functools.cached_property
    def _batch_pattern(self) -> str:
        source, arrow, target = self.pattern.partition("->")
        row = "row"
        while row in self.pattern:
            row += "s"
        return f"{row} {source}{arrow} {row} {target}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gather(base.ElementWiseTransform):
    """Takes entries along an axis.

    Attributes:
      axis: Axis of one element.
      indices: Which entries, in this order.
    """

    axis: int
    indices: Sequence[int] | int

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        return np.take(np.asarray(element), self._indices, axis=self.axis)

    def map_batch(self, values: np.ndarray) -> np.ndarray:
        """Gathers from each of the rows."""
        axis = self.axis if self.axis < 0 else self.axis + 1
        return np.take(values, self._indices, axis=axis)

    @functools.cached_property
    def _indices(self) -> np.ndarray:
        return np.asarray(self.indices, dtype=np.int64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalize(base.ElementWiseTransform):
    """Subtracts a mean and divides by a standard deviation, per channel; f32.

    Attributes:
      mean: A number, or one per entry of the last axis, in the unit of the input.
      std: Likewise; not 0.

    Raises:
      DataError: If `std` has a 0.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not np.all(np.asarray(self.std)):
            raise _errors.DataError(f"Normalize: `std` must not be 0: got {self.std}.")

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        mean, scale = self._constants
        element = _numbers.real(f"Normalize({self.key!r})", element)
        shifted = np.subtract(element, mean, dtype=np.float32)
        # In place: an array of a batch is larger than what caches hold.
        return (
            np.multiply(shifted, scale, out=shifted)
            if shifted.ndim
            else shifted * scale
        )

    map_batch = map_element

    @functools.cached_property
    def _constants(self) -> tuple[np.ndarray, np.ndarray]:
        mean = np.asarray(self.mean, np.float32)
        return mean, np.asarray(1.0 / np.asarray(self.std), np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneHot(base.ElementWiseTransform):
    """Turns class ids into vectors.

    Attributes:
      num_classes: Length of the vectors.
      multi: Whether a list of ids becomes one vector with several hits (as published);
        otherwise each id becomes a vector.
      on: Value at the class, f32.
      off: Value elsewhere, f32.

    Raises:
      DataError: If an id is outside `[0, num_classes)`, or no whole number.
    """

    num_classes: int
    multi: bool = True
    on: float = 1.0
    off: float = 0.0

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        ids = np.asarray(element)
        hits = self._hits(ids)
        if self.multi and ids.ndim:
            hits = hits.any(axis=0)
        return np.where(hits, *self._values)

    def map_batch(self, values: np.ndarray) -> np.ndarray:
        """Returns a vector for each id of the rows."""
        return np.where(self._hits(values), *self._values)

    def _hits(self, values: np.ndarray) -> np.ndarray:
        owner = f"OneHot({self.key!r})"
        ids = _numbers.real(owner, values)
        if ids.dtype.kind not in "biu":
            is_whole = np.trunc(ids) == ids  # not for NaN
            if not is_whole.all():
                raise _errors.DataError(
                    f"{owner}: class ids are whole numbers: got "
                    f"{ids[~is_whole].ravel()[0]}."
                )
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_classes):
            raise _errors.DataError(
                f"{owner}: class ids must be in [0, {self.num_classes}): "
                f"got {ids.min()} to {ids.max()}. Raise `num_classes`?"
            )
        return ids[..., None] == np.arange(self.num_classes)

    def _map_column(self, column: Any) -> Any:
        if isinstance(column, np.ndarray) and column.ndim == 1:
            return self.map_batch(column)
        return [self.map_element(value) for value in column]

    @property
    def _values(self) -> tuple[np.float32, np.float32]:
        return np.float32(self.on), np.float32(self.off)


def as_dtype(dtype: npt.DTypeLike) -> np.dtype:
    """Returns a NumPy dtype, also for the names that `ml_dtypes` adds.

    Raises:
      DataError: If there is no such dtype.
    """
    try:
        return np.dtype(dtype)
    except TypeError:
        pass
    try:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, str(dtype)))
    except (ImportError, AttributeError, TypeError):
        raise _errors.DataError(
            f"{dtype!r} is no dtype. Use e.g. 'float32', 'int32', 'uint8', 'bfloat16'."
        ) from None
