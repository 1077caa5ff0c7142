"""Deterministic resizing, cropping and padding."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron.data import _errors
from kauldron.data.transforms import _numbers, _resampling, base

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resize(base.ElementWiseTransform):
    """Changes the size of images `[*b h w c]`; the dtype stays.

    Attributes:
      size: New (height, width), or one number for both.
      min_size: New length of the shorter side; the other keeps the aspect ratio.
      max_size: New length of the longer side; likewise.
      method: 'nearest', 'bilinear', 'bicubic', 'lanczos3' or 'area'. By default nearest
        for integers (so that label maps stay label maps) and bilinear for floats.
      antialias: Whether shrinking averages over all pixels.

    Raises:
      DataError: Unless exactly one of the sizes is given.
    """

    size: int | tuple[int, int] | None = None
    min_size: int | None = None
    max_size: int | None = None
    method: Any = None
    antialias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = {
            name: getattr(self, name)
            for name in ("size", "min_size", "max_size")
            if getattr(self, name) is not None
        }
        if len(sizes) != 1:
            raise _errors.DataError(
                "Resize: give exactly one of `size`, `min_size`, `max_size`: got "
                f"{sizes or 'none'}."
            )
        for name, value in sizes.items():
            _check_lengths(name, value, 2 if name == "size" else 1)
        _resampling.canonical_method(self.method, np.dtype(np.float32))

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        images = np.asarray(element)
        size = self._new_size(images.shape[-3:-1])
        return _resampling.resize(
            images, size, method=self.method, antialias=self.antialias
        )

    map_batch = map_element

    def _new_size(self, old: tuple[int, ...]) -> tuple[int, int]:
        if self.size is not None:
            if isinstance(self.size, Sequence):
                return (int(self.size[0]), int(self.size[1]))
            return (self.size, self.size)
        if len(old) != 2:
            return (1, 1)  # not an image: `resize` says so
        if self.min_size is not None:
            scale = self.min_size / min(old)
        else:
            assert self.max_size is not None  # one of the three is given
            scale = self.max_size / max(old)
        height, width = (max(1, round(length * scale)) for length in old)
        return height, width


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResizeSmall(base.ElementWiseTransform):
    """Resizes images `[*b h w c]` so that the shorter side has a given length.

    Attributes:
      smaller_size: Length of the shorter side in pixels.
      method: As in `Resize`; `'AUTO'` is nearest for integers and area for floats.
    """

    smaller_size: int
    method: str = "AUTO"

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        resize = Resize(
            key=self.key,
            min_size=self.smaller_size,
            method=auto_method(self.method, np.asarray(element).dtype),
        )
        return resize.map_element(element)

    map_batch = map_element


@dataclasses.dataclass(frozen=True, kw_only=True)
class CenterCrop(base.ElementWiseTransform):
    """Cuts the middle out of arrays; of an odd rest, one more is lost at the end.

    Attributes:
      shape: Shape of the result; `None` keeps an axis.

    Raises:
      DataError: If an array has another number of axes, or is smaller.
    """

    shape: Sequence[int | None]

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        return self._crop(np.asarray(element), num_lead=0)

    def map_batch(self, values: np.ndarray) -> np.ndarray:
        """Crops all images of a batch at once."""
        return self._crop(values, num_lead=1)

    def _crop(self, values: np.ndarray, num_lead: int) -> np.ndarray:
        old = values.shape[num_lead:]
        new = crop_shape(type(self).__name__, old, self.shape)
        starts = [(a - b) // 2 for a, b in zip(old, new, strict=True)]
        window = tuple(slice(s, s + n) for s, n in zip(starts, new, strict=True))
        return values[(slice(None),) * num_lead + window]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PadToShape(base.ElementWiseTransform):
    """Appends a constant until arrays have a given shape, so that they can be batched.

    Attributes:
      shape: Shape of the result; `None` keeps an axis.
      value: What is appended.
      mask_key: If given, a bool array of the result's shape is added under this key: true
        where there were data. For several keys, a mapping from the key to that of its
        mask.

    Raises:
      DataError: If an array has another number of axes, is larger, or of a dtype that
        cannot hold `value`.
    """

    shape: Sequence[int | None]
    value: float = 0
    mask_key: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.mask_key, str) and len(self._targets) > 1:
            raise _errors.DataError(
                "PadToShape: `mask_key` is one name for several keys. Use a dict: "
                f"{ {key: f'{key}_mask' for key in self._targets} }."
            )

    def map(self, features: Mapping[str, Any]) -> Any:
        masks = {
            mask_key: self._mask(np.asarray(features[key]))
            for key, mask_key in self._mask_keys.items()
            if key in features
        }
        taken = sorted(set(masks) & set(features))
        if taken:
            raise _errors.DataKeyError(
                f"PadToShape: the elements already have {taken}: choose another "
                "`mask_key`."
            )
        return {**super().map(features), **masks}

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        values = np.asarray(element)
        widths = self._widths(values.shape)
        if not any(after for _, after in widths):
            return values
        fill = _numbers.fill_value("PadToShape", "value", self.value, values.dtype)
        return np.pad(values, widths, constant_values=fill)

    def _mask(self, values: np.ndarray) -> np.ndarray:
        return np.pad(np.ones(values.shape, bool), self._widths(values.shape))

    def _widths(self, old: tuple[int, ...]) -> list[tuple[int, int]]:
        if len(self.shape) != len(old):
            raise _errors.DataError(
                f"PadToShape: `shape={tuple(self.shape)}` has {len(self.shape)} axes, "
                f"the array has {len(old)}: {old}."
            )
        new = [b if a is None else a for a, b in zip(self.shape, old, strict=True)]
        widths = [(0, a - b) for a, b in zip(new, old, strict=True)]
        if any(after < 0 for _, after in widths):
            raise _errors.DataError(
                f"PadToShape: an array of shape {old} is larger than {tuple(new)}. "
                "Raise `shape`, or crop first."
            )
        return widths

    @functools.cached_property
    def _mask_keys(self) -> dict[str, str]:
        if self.mask_key is None:
            return {}
        if isinstance(self.mask_key, str):
            return dict.fromkeys(self._targets, self.mask_key)
        return dict(self.mask_key)


def _check_lengths(name: str, value: object, most: int) -> None:
    lengths = list(value) if isinstance(value, Sequence) else [value]
    are_whole = all(isinstance(x, int | np.integer) and x >= 1 for x in lengths)
    if not are_whole or (isinstance(value, Sequence) and len(lengths) != most):
        kind = "(height, width), or one number" if most == 2 else "one number"
        raise _errors.DataError(
            f"Resize: `{name}` is {kind}, in whole pixels, at least 1: got {value!r}."
        )


def auto_method(method: str, dtype: np.dtype) -> str:
    """Returns the method that `'AUTO'` is for a dtype."""
    if method != "AUTO":
        return method
    return "nearest" if dtype.kind in "iub" else "area"


def crop_shape(
    owner: str, old: Sequence[int], new: Sequence[int | None]
) -> tuple[int, ...]:
    """Returns the shape of a crop, `None` replaced by the old length.

    Raises:
      DataError: If the number of axes differs, or the crop is larger.
    """
    if len(old) != len(new):
        raise _errors.DataError(
            f"{owner}: `shape={tuple(new)}` has {len(new)} axes, the array has "
            f"{len(old)}: {tuple(old)}. Use None for axes to keep."
        )
    shape = tuple(a if b is None else int(b) for a, b in zip(old, new, strict=True))
    if any(b > a for a, b in zip(old, shape, strict=True)):
        raise _errors.DataError(
            f"{owner}: an array of shape {tuple(old)} is smaller than the crop {shape}."
        )
    return shape
