"""Sliding windows: a function of patches, applied to a volume of any size."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron._base import console
from kauldron.ktyping import PyTree
from kauldron.modules.patches import blending, slices, tilings, windows
from kauldron.volumes.geometry.base import Region
from kauldron.volumes.patches import _programs, _volume_patches


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlidingWindow:
    """How a volume goes through a function of patches, and what comes out is blended.

    Patches go in batches of one shape, so that the function is compiled once for a size
    of patches, whatever the volumes are. The weighted mean of what it gives is kept in f32
    on the device; where patches agree, it is exact for any overlap.

    Attributes:
      patch_size: Along (z, y, x); `None` is a free axis, taken as a whole. One number for
        all.
      overlap: A fraction of the size (float, below 1), or voxels (int); one, or one along
        each of (z, y, x).
      blend: `'flat'`, `'cosine'`, `'gaussian'`, or a function `(size, overlap) ->
        f[size]`: windows of the axes, which are multiplied.
      batch_size: Patches in one call.
      border: `'shift'` moves the last patch of an axis back inside; `'pad'` fills it up.
      multiple: Free axes are padded to multiples of it, as strided models need.
      floor: Least value of the window of a patch; 1e-3 is what MONAI does.
      pad: Value of what lies outside of the volume.
      context_slices: 2.5-D, see `kd.volumes.PatchGrid`.

    Raises:
      PatchError: If patches cannot be cut.

    Example:

    ```python
    window = kd.volumes.SlidingWindow(patch_size=(64, 64, 64), batch_size=2)
    logits = window(functools.partial(model.apply, variables), volume)
    ```
    """

    patch_size: tilings.Size
    overlap: tilings.Overlap = 0.5
    blend: windows.Blend = "gaussian"
    batch_size: int = 4
    border: tilings.Border = "shift"
    multiple: int = 1
    floor: float = 0.0
    pad: float = 0.0
    context_slices: int = 0

    def __post_init__(self) -> None:
        if len(self._tiling.sizes) != 3:
            raise tilings.PatchError(
                f"`patch_size` is along (z, y, x): got {self.patch_size!r}."
            )
        slices.check_context(self.patch_size, self.context_slices)
        tilings.check_number("batch_size", self.batch_size)

    def __call__(self, fn: Callable[[Any], PyTree], array: Any) -> Any:
        """Returns what the function gives for a whole volume, `f32[z y x c]` on the device.

        Args:
          fn: A function of JAX, from patches `[b z y x c]` to any tree of floating
            `[b z y x c]` of the same spatial shape. What a `functools.partial` binds, such as parameters, may
            change without compiling again.
          array: `[z y x c]`, anything that is sliced like an array.

        Raises:
          PatchError: If the volume has other axes, or what `fn` gives cannot be blended.
        """
        blending_ = _Blending(self, fn, array)
        ((_, means),) = blending_.slabs(height=blending_.tiles.padded[0])
        return means

    def slabs(
        self, fn: Callable[[Any], PyTree], array: Any
    ) -> Iterator[tuple[Region, Any]]:
        """Yields the same slab by slab along z, for volumes larger than memory.

        Neither the volume nor what the function gives is ever held as a whole: memory
        holds a slab as high as a patch. The numbers are the same bits.

        Args:
          fn: See `__call__`.
          array: `[z y x c]`: a memory map, an array of Zarr or HDF5, ...

        Yields:
          A region, and what the function gives there as NumPy arrays; from the first to
          the last plane.
        """
        blending_ = _Blending(self, fn, array)
        for region, means in blending_.slabs(height=blending_.tiles.size[0]):
            # A copy: on the CPU, arrays may be those that are used again.
            yield region, jax.tree.map(np.array, means)

    def size_for(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Returns the size of patches of a volume; free axes take its size."""
        return self._tiling.tiles(shape).size

    def check_outputs(self, specs: PyTree, shape: Sequence[int]) -> None:
        """Checks that what a function gives can be put together.

        Args:
          specs: Tree of shapes and dtypes of outputs.
          shape: Of the volume.

        Raises:
          PatchError: If an output has not the size of a patch, or is not floating.
        """
        blending.check(specs, self._tiling.tiles(shape))

    @functools.cached_property
    def _tiling(self) -> tilings.Tiling:
        return tilings.Tiling(
            size=self.patch_size,
            overlap=self.overlap,
            border=self.border,
            multiple=self.multiple,
        )


def sliding_window(
    fn: Callable[[Any], PyTree], array: Any, *, patch_size: tilings.Size, **options: Any
) -> Any:
    """Returns what a function of patches gives for a whole volume.

    Args:
      fn: A function of JAX, from patches `[b z y x c]` to any tree of floating
        `[b z y x c]` of the same spatial shape; see `kd.volumes.SlidingWindow`.
      array: `[z y x c]`.
      patch_size: Along (z, y, x).
      **options: As in `kd.volumes.SlidingWindow`: `overlap=0.5`, `blend="gaussian"`,
        `batch_size=4`, ...

    Returns:
      The tree with `f32[z y x c]`.

    Raises:
      PatchError: If patches cannot be cut or blended.
    """
    return SlidingWindow(patch_size=patch_size, **options)(fn, array)


class _Blending:
    """One volume on its way through a function."""

    def __init__(
        self, window: SlidingWindow, fn: Callable[[Any], PyTree], array: Any
    ) -> None:
        shape = np.shape(array)
        if len(shape) != 4:
            raise tilings.PatchError(
                f"Windows slide over a volume [z y x c]: got the shape {shape}."
            )
        self.tiles = window._tiling.tiles(shape[:3])
        _tell_padding(self.tiles.shape, window._tiling.sizes)
        self._window = window
        self._network = _programs.network(fn)
        self._source = _volume_patches.VolumePatches(
            array, self.tiles, window.pad, window.context_slices
        )
        self._axes = windows.axis_windows(window.blend, self.tiles)

    def slabs(self, *, height: int) -> Iterator[tuple[Region, Any]]:
        """Yields regions along z and what is there, on the device.

        Args:
          height: Number of planes that are held, at least those of a patch.
        """
        placements = windows.placements(self._axes, self.tiles)
        means, bottom = None, 0
        for first in range(0, self.tiles.num_patches, self._window.batch_size):
            batch = _rows(placements, first, self._window.batch_size)
            # A batch is read while the one before it is computed. More than that would fill
            # the memory.
            patches = self._source.batch(batch.start)
            jax.block_until_ready(means)
            with _programs.explained():
                outputs = self._network(patches)
            del patches
            if means is None:
                means = self._zeros(outputs, height)
            num = min(self._window.batch_size, self.tiles.num_patches - first)
            done = 0
            while done < num:
                fits = batch.start[:num, 0] + self.tiles.size[0] <= bottom + height
                last = num if fits.all() else int(np.argmin(fits))
                if last == done:
                    top = int(batch.start[done, 0])
                    yield self._finished(means, bottom, top)
                    means = _programs.advance(means, top - bottom)
                    bottom = top
                    continue
                means = self._blend(means, outputs, batch, bottom, done, last)
                done = last
            del outputs
        yield self._finished(means, bottom, self.tiles.shape[0])

    def _zeros(self, outputs: PyTree, height: int) -> Any:
        specs = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), outputs
        )
        shape = (height, *self.tiles.padded[1:])
        means = blending.zeros(specs, self.tiles, shape)
        if not self._window.floor:
            return means
        return means, jnp.zeros((*shape, 1), jnp.float32)

    def _blend(
        self,
        means: Any,
        outputs: PyTree,
        batch: windows.Placement,
        bottom: int,
        first: int,
        last: int,
    ) -> Any:
        start = batch.start - np.array([bottom, 0, 0], np.int32)
        if not self._window.floor:
            batch = batch._replace(start=start)
            return _programs.blend(means, outputs, self._axes, batch, first, last)
        window = np.maximum(windows.window(self._axes), self._window.floor)
        window = window.astype(np.float32)
        return _programs.blend_counted(means, outputs, window, start, first, last)

    def _finished(self, means: Any, bottom: int, top: int) -> tuple[Region, Any]:
        if self._window.floor:
            means, _ = means
        _, y, x = self.tiles.shape
        return (
            Region((bottom, 0, 0), (top, y, x)),
            blending.cropped(means, (top - bottom, y, x)),
        )


def _rows(placements: windows.Placement, first: int, num: int) -> windows.Placement:
    """Returns rows of placements; behind the last one, it is repeated."""
    rows = np.minimum(np.arange(first, first + num), len(placements.start) - 1)
    return jax.tree.map(lambda x: x[rows], placements)


@functools.cache
def _tell_padding(shape: tuple[int, ...], size: tuple[int | None, ...]) -> None:
    """Tells, once for a shape, that patches are larger than the volume.

    Free axes are as long as the volume, but for what fills up a multiple.
    """
    if any(n < (length or 0) for n, length in zip(shape, size, strict=True)):
        console.warn(
            f"Patches of {size} voxels are larger than the volume of {shape}: it is "
            "padded at its end. A smaller `patch_size` computes less."
        )
