"""Values and checks for each spatial axis."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from kauldron import ktyping

PerAxis = int | Sequence[int]

_AXES = {1: "*b t c", 2: "*b h w c", 3: "*b d h w c"}


def per_axis(value: PerAxis, num_axes: int, name: str) -> tuple[int, ...]:
    """Returns one positive integer for each spatial axis.

    Raises:
      ValueError: If there are more or fewer than axes, or one is not positive.
    """
    values = (value,) * num_axes if isinstance(value, int) else tuple(value)
    if len(values) != num_axes:
        raise ValueError(
            f"`{name}` needs one value for each spatial axis: got {value!r}, and "
            f"`kernel_size` says that there are {num_axes}. Give a number for all axes, "
            f"or {num_axes} of them."
        )
    if any(v < 1 for v in values):
        raise ValueError(f"`{name}` must be positive: got {value!r}.")
    return values


def count_axes(kernel_size: Sequence[int] | int, *, is_odd: bool = False) -> int:
    """Returns of how many spatial axes a kernel is.

    Args:
      kernel_size: One size for each.
      is_odd: Whether a kernel needs a middle, so that sizes are kept.

    Raises:
      ValueError: If it is one number, or a size is even or not positive.
    """
    if isinstance(kernel_size, int):
        raise ValueError(
            "`kernel_size` needs one size for each spatial axis, such as (3, 3): got "
            f"{kernel_size}."
        )
    if not kernel_size or any(k < 1 for k in kernel_size):
        raise ValueError(f"`kernel_size` must be positive: got {tuple(kernel_size)!r}.")
    if is_odd and any(k % 2 == 0 for k in kernel_size):
        raise ValueError(
            "`kernel_size` must be odd, so that an edge is padded alike on both sides "
            f"and sizes are kept: got {tuple(kernel_size)!r}."
        )
    return len(kernel_size)


def check_rank(x: jax.Array, num_axes: int, owner: str) -> None:
    """Raises `ktyping.KTypeCheckError` if an array has too few axes."""
    if x.ndim < num_axes + 1:
        axes = _AXES.get(num_axes, f"*b {num_axes} spatial axes c")
        raise ktyping.KTypeCheckError(
            f"{owner} takes arrays of shape `{axes}`, since `kernel_size` has "
            f"{num_axes} values: got {x.shape}. Give `kernel_size` one value for each "
            "spatial axis, and arrays with channels last."
        )
