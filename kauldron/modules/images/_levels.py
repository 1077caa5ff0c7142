"""The levels of a U-Net: strides, kernels, and which sizes of input fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax

from kauldron.modules.images import _spatial

Strides = int | Sequence[_spatial.PerAxis]
KernelSize = Sequence[int] | Sequence[Sequence[int]]


def kernels(kernel_size: KernelSize, num_levels: int) -> list[tuple[int, ...]]:
    """Returns the kernel of each level, from one for all or one for each.

    Raises:
      ValueError: If there are more or fewer kernels than levels, or one is even.
    """
    if isinstance(kernel_size, int) or all(isinstance(k, int) for k in kernel_size):
        _spatial.count_axes(kernel_size)  # pyright: ignore[reportArgumentType]
        kernel_size = [kernel_size] * num_levels  # pyright: ignore[reportAssignmentType]
    if len(kernel_size) != num_levels or not num_levels:
        raise ValueError(
            f"`kernel_size` needs one kernel for each of the {num_levels} levels in "
            f"`features`, or one for all, such as (3, 3): got {kernel_size!r}."
        )
    found = [tuple(k) for k in kernel_size if not isinstance(k, int)]
    for kernel in found:
        _spatial.count_axes(kernel, is_odd=True)
    return found


def check_channels(features: Sequence[int], num_classes: int) -> None:
    """Checks the channels of each level, and of the logits.

    Raises:
      ValueError: If they are not positive, or there are fewer than two levels.
    """
    if isinstance(features, int) or any(f < 1 for f in features):
        raise ValueError(
            "`features` needs the channels of each level, positive and from fine to "
            f"coarse, such as (32, 64): got {features!r}."
        )
    if len(features) < 2:
        raise ValueError(
            "`features` needs at least two levels, fine and coarse: got "
            f"{len(features)}, {features!r}."
        )
    if num_classes < 1:
        raise ValueError(f"`num_classes` must be positive: got {num_classes}.")


def steps(strides: Strides, num_steps: int, num_axes: int) -> list[tuple[int, ...]]:
    """Returns the strides of each step down, one number for each spatial axis.

    Raises:
      ValueError: If there are more or fewer strides than steps.
    """
    if isinstance(strides, int):
        strides = [strides] * num_steps
    if len(strides) != num_steps:
        raise ValueError(
            f"`strides` needs one entry for each step between the {num_steps + 1} "
            f"levels in `features`, that is {num_steps}: got {strides!r}. An entry is a "
            "number, or one for each spatial axis."
        )
    return [_spatial.per_axis(s, num_axes, "strides") for s in strides]


def values(value: int | Sequence[int], num: int, name: str) -> list[int]:
    """Returns one number for each level, from one for all or one for each.

    Raises:
      ValueError: If there are more or fewer than levels.
    """
    found = [value] * num if isinstance(value, int) else list(value)
    if len(found) != num or any(v < 1 for v in found):
        raise ValueError(
            f"`{name}` needs one positive number for all levels, or {num}: got "
            f"{value!r}."
        )
    return found


def factor(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Returns how many times smaller the coarsest level is, for each spatial axis."""
    return tuple(math.prod(axis) for axis in zip(*strides, strict=True))


def check_sizes(x: jax.Array, factor: Sequence[int], owner: str) -> None:
    """Raises `ValueError` if an axis of an image does not divide as often as needed."""
    _spatial.check_rank(x, len(factor), owner)
    sizes = x.shape[-len(factor) - 1 : -1]
    if any(n % f for n, f in zip(sizes, factor, strict=True)):
        fitting = tuple(-(-n // f) * f for n, f in zip(sizes, factor, strict=True))
        raise ValueError(
            f"The spatial axes of what {owner} takes must be multiples of its "
            f"`downsampling_factor`, {tuple(factor)}: got {tuple(sizes)}. Pad to "
            f"{fitting}, crop, or use smaller `strides`."
        )
