"""`PatchWise`: a model that sees an image patch by patch, and gives it as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import PyTree
from kauldron.modules import _interms
from kauldron.modules.patches import (
    _arguments,
    _inner_values,
    blending,
    slices,
    tilings,
    windows,
)


class PatchWise(nn.Module):
    """Runs a model on overlapping patches and blends what it returns.

    The patches go through `inner` one after the other, in one compiled loop. Gradients
    compute each patch again, so that memory holds the activations of one patch only.

    Arguments `f[*b *n c]` that have the spatial shape of the first one are cut; all others
    go to each patch as they are. What `inner` returns, any tree of `f[*b *size c]`, is
    blended in f32 and returned as `f[*b *n c]`.

    Keys (`interms.<path of this module>` unless it is the model itself):

    - `preds`, or the output: assembled.
    - `interms.inner.head.__call__[0]`: what a module inside returned **per patch**,
      `[p *b *size c]`, patches stacked in front.
    - `interms.assembled[0].head`: the same **assembled**, if `assemble=["head"]`.
    - `interms.cut[0].seg`: the patches of a target, `[p *b *size c]`, if
      `cut={"seg": "batch.seg"}`: for losses per patch. `interms.inside[0]`, `f[p *1 *size 1]`,
      is 0 where a patch is padding: a mask for them.
    - `interms.starts[0]`: `i32[p k]`.

    Attributes:
      inner: The model of a patch. Its keys are those of this model.
      size: Of a patch, one for each spatial axis; `None` is a free axis, taken as a whole.
      overlap: A fraction of the size (float below 1), or voxels (int); one, or one for
        each axis.
      blend: `'flat'`, `'cosine'`, `'gaussian'`, or a function `(size, overlap) ->
        f[size]`.
      border: `'shift'` moves the last patch of an axis back inside; `'pad'` fills it up.
      multiple: Free axes are padded to multiples of it, as strided models need.
      context_slices: 2.5-D: single slices (the size of the first axis is 1) get this many
        neighbours stacked into their channels: `f[*b 1 *n (1+slices)*c]`. Beyond the ends
        slices are reflected.
      assemble: Paths of modules inside, from `inner`, that are assembled as well.
      cut: Name -> key of what else is cut, such as targets.
      has_remat: Whether gradients compute patches again.

    Raises:
      PatchError: If patches cannot be cut, or put together again.

    Example:

    ```python
    model = kd.nn.PatchWise(
        inner=kd.nn.UNet(3, features=(8, 16), kernel_size=(3, 3), image="batch.image"),
        size=(64, 64),
        overlap=0.25,
    )
    ```
    """

    inner: nn.Module
    size: Sequence[int | None]
    overlap: tilings.Overlap = 0.5
    blend: windows.Blend = "gaussian"
    border: tilings.Border = "shift"
    multiple: int = 1
    context_slices: int = 0
    assemble: Sequence[str] = ()
    cut: Mapping[str, kontext.Key] = dataclasses.field(default_factory=dict)
    has_remat: bool = True

    interms = _interms.interms_property()

    def __kontext_keys__(self) -> dict[str, Any]:
        keys = kontext.get_keypaths(self.inner)
        return {**keys, "cut": dict(self.cut)} if self.cut else keys

    @nn.compact
    def __call__(
        self, *args: PyTree, cut: Mapping[str, PyTree] | None = None, **kwargs: PyTree
    ) -> PyTree:
        slices.check_context(self.size, self.context_slices)
        arguments = _arguments.Arguments.of(
            self._tiling(), (args, kwargs), context_slices=self.context_slices
        )
        if self.is_initializing():
            args, kwargs = arguments.at(arguments.tiles.all_starts()[0])
            self.inner(*args, **kwargs)
        self._keep(cut, arguments)
        outputs, assembled = self._scan(arguments)
        if self.assemble:
            self.interms["assembled"] = _inner_values.nested(assembled)
        return outputs

    @nn.nowrap
    def _tiling(self) -> tilings.Tiling:
        if isinstance(self.size, int):
            raise tilings.PatchError(
                "`PatchWise.size` needs one size for each spatial axis, such as "
                f"(64, 64): got {self.size}."
            )
        return tilings.Tiling(
            size=tuple(self.size),
            overlap=self.overlap,
            border=self.border,
            multiple=self.multiple,
        )

    def _keep(self, cut: Any, arguments: _arguments.Arguments) -> None:
        tiles = arguments.tiles
        self.interms["starts"] = jnp.asarray(tiles.all_starts())
        inside = jnp.ones((*arguments.num_leading * (1,), *tiles.shape, 1), jnp.float32)
        self.interms["inside"] = blending.cut(inside, tiles)
        if cut:
            self.interms["cut"] = jax.tree.map(
                lambda x: blending.cut(x, tiles), dict(cut)
            )

    def _scan(
        self, arguments: _arguments.Arguments
    ) -> tuple[PyTree, dict[str, PyTree]]:
        """Returns the blended outputs, of the model and of what is assembled."""
        tiles = arguments.tiles
        axes = windows.axis_windows(self.blend, tiles)
        placements = windows.placements(axes, tiles)

        def run(inner: nn.Module, start: jax.Array) -> Any:
            args, kwargs = arguments.at(start)
            with _inner_values.watch(inner, self.assemble) as seen:
                outputs = inner(*args, **kwargs)
            return outputs, dict(seen)

        # Without it, the shares of all patches would be kept for gradients.
        @jax.checkpoint
        def blend(means: PyTree, patch: PyTree, placement: windows.Placement) -> Any:
            share = windows.share(axes, placement)
            return blending.blended(means, patch, share, placement.start)

        def body(inner: nn.Module, means: PyTree, placement: windows.Placement) -> Any:
            compute = nn.remat(run, prevent_cse=False) if self.has_remat else run
            return blend(means, compute(inner, placement.start), placement), None

        specs = self._specs(run, placements.start[0])
        scan = nn.scan(
            body,
            variable_axes={"intermediates": 0},
            variable_broadcast="params",
            variable_carry=nn.DenyList(["params", "intermediates"]),
            split_rngs={"params": False, nn.DenyList("params"): True},
        )
        means = tuple(blending.zeros(part, tiles, tiles.padded) for part in specs)
        means, _ = scan(self.inner, means, jax.tree.map(jnp.asarray, placements))
        means = blending.cropped(means, tiles.shape)
        return jax.tree.map(lambda x, spec: x.astype(spec.dtype), means, specs)

    @nn.nowrap
    def _specs(self, run: Callable[..., Any], start: np.ndarray) -> PyTree:
        """Returns shapes and dtypes of what one patch gives."""
        inner, variables = self.inner.unbind()
        assert self.scope is not None
        names = list(self.scope.rngs)

        def apply(variables: PyTree, key: jax.Array) -> Any:
            outputs, _ = inner.apply(
                variables,
                jnp.asarray(start),
                rngs=dict.fromkeys(names, key),
                mutable=True,
                method=run,
            )
            return outputs

        return jax.eval_shape(apply, variables, jax.random.key(0))
