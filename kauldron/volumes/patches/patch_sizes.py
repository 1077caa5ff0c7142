"""Patch sizes that fit into the memory, found before anything runs out of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kauldron import sharding
from kauldron.ktyping import DType
from kauldron.modules.patches import tilings
from kauldron.volumes.patches import _programs

# What a program needs besides what the compiler knows, such as the volume itself.
_SHARE = 0.8


def choose_patch_size(
    fn: Callable[[Any], Any],
    shape: Sequence[int],
    *,
    max_bytes: float | None = None,
    batch_size: int = 1,
    multiple: int = 16,
    dtype: DType = jnp.float32,
) -> tuple[int, int, int]:
    """Returns the largest patch whose compiled program fits into the memory.

    Programs are compiled, and asked what they need; none is run. Patches are as long along
    each axis, unless the volume is shorter.

    Args:
      fn: From patches `[b z y x c]`, see `kd.volumes.SlidingWindow`.
      shape: Of the volume, `(z, y, x, c)`.
      max_bytes: Memory of a program; 80% of what is free on the device unless given.
      batch_size: Patches in one call.
      multiple: Sizes are multiples of it, as strided models need.
      dtype: Of the patches.

    Raises:
      PatchError: If not even the smallest patch fits.
    """
    if len(shape) != 4:
        raise tilings.PatchError(
            f"The shape of a volume is (z, y, x, c): got {tuple(shape)}."
        )
    if max_bytes is None:
        max_bytes = _SHARE * sharding.free_bytes()
    fits = functools.partial(_fits, fn, batch_size, shape[3], dtype, max_bytes)
    lengths = [-(-n // multiple) for n in shape[:3]]
    size = functools.partial(_size, lengths, multiple)
    low, high = 1, max(lengths)
    if not fits(size(low)):
        needed = _needed_bytes(fn, batch_size, size(low), shape[3], dtype)
        raise tilings.PatchError(
            f"{batch_size} patches of {size(low)} voxels need {needed / 2**20:.0f} MiB, "
            f"and there are {max_bytes / 2**20:.0f} MiB: use a smaller `batch_size` or "
            "`multiple`, or a smaller model."
        )
    while low < high:
        middle = (low + high + 1) // 2
        if fits(size(middle)):
            low = middle
        else:
            high = middle - 1
    return size(low)


def _size(lengths: Sequence[int], multiple: int, edge: int) -> tuple[int, int, int]:
    z, y, x = (multiple * min(edge, length) for length in lengths)
    return z, y, x


def _fits(
    fn: Callable[[Any], Any],
    batch_size: int,
    num_channels: int,
    dtype: DType,
    max_bytes: float,
    size: tuple[int, int, int],
) -> bool:
    return _needed_bytes(fn, batch_size, size, num_channels, dtype) <= max_bytes


def _needed_bytes(
    fn: Callable[[Any], Any],
    batch_size: int,
    size: tuple[int, int, int],
    num_channels: int,
    dtype: DType,
) -> int:
    """Returns the memory of the program of a batch: what goes in, comes out, and between."""
    patches = jax.ShapeDtypeStruct((batch_size, *size, num_channels), dtype)
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(fn, functools.partial):
        args, kwargs, fn = fn.args, fn.keywords, fn.func
    with _programs.explained():
        lowered = _programs.compiled(fn).lower(*args, patches, **kwargs)
    compiled = lowered.compile()
    memory = compiled.memory_analysis()
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
    )
