"""The model of a run as a function of patches."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.evals import base
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import dropping, intermediates, train_step
from kauldron.step.context import Context
from kauldron.volumes.geometry.base import Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.prediction import _parts

_PREDS = "preds"


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a model reads of a case: volumes, which are cut, and the rest.

    Attributes:
      volume: `[z y x c]`, all volumes one behind the other in the channels: an array, or
        `Parts`.
      channels: Key of each volume -> its number of channels, in their order.
      rest: Key -> what is not cut, `[1 ...]`.
    """

    volume: Any
    channels: tuple[tuple[str, int], ...]
    rest: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, model: Any, batch: Mapping[str, Any]) -> Inputs:
        """Returns the inputs of a model in the batch of one case.

        Raises:
          VolumeError: If it reads no volume, or volumes of several grids.
        """
        values = {
            key: np.asarray(kontext.get_by_path({"batch": batch}, key))
            for key in kontext.list_keys(kontext.get_keypaths(model))
            if key.startswith("batch.")
        }
        volumes = {key: x[0] for key, x in values.items() if x.ndim == 5}
        if len({x.shape[:3] for x in volumes.values()}) != 1:
            shapes = {key: x.shape for key, x in values.items()}
            raise VolumeError(
                "A model of cases reads volumes `[b z y x c]` on one grid, by its keys, "
                f"such as `image='batch.ct'`: {type(model).__name__} reads {shapes}."
            )
        arrays = list(volumes.values())
        volume = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, -1)
        return cls(
            volume=volume,
            channels=tuple((key, x.shape[-1]) for key, x in volumes.items()),
            rest={key: x for key, x in values.items() if key not in volumes},
        )

    @classmethod
    def of_parts(
        cls, model: Any, batch_of: Callable[[Region], Mapping[str, Any]], shape: Shape
    ) -> Inputs:
        """Returns the inputs in a case of which regions are read.

        Args:
          model: The model.
          batch_of: Returns the batch that a region is.
          shape: Of the case.
        """

        def read(region: Region) -> np.ndarray:
            return cls.of(model, batch_of(region)).volume

        first = cls.of(model, batch_of(Region((0, 0, 0), (1, 1, 1))))
        voxel = first.volume
        full = (*shape, voxel.shape[-1])
        volume = _parts.Parts(shape=full, dtype=voxel.dtype, read=read)
        return first.with_volume(volume)

    def with_volume(self, volume: Any) -> Inputs:
        """Returns the inputs with other values on the same grid."""
        return dataclasses.replace(self, volume=volume)

    def split(self, region: Region) -> dict[str, np.ndarray]:
        """Returns a region of each volume, `[z y x c]`."""
        return _split(_parts.read(self.volume, region), self.channels)


# Flax modules may have no hash: compiled functions are kept by identity.
@dataclasses.dataclass(frozen=True, eq=False)
class PatchNetwork:
    """Runs the model of an evaluator on patches.

    Attributes:
      run: The run.
      model: The model.
      method: Its method; `None` is `__call__`.
      keys: What is returned, below `preds`.
    """

    run: base.Run
    model: Any
    method: Any
    keys: tuple[str, ...]

    def __call__(
        self,
        state: TrainState,
        index: Any,
        rest: Mapping[str, Any],
        patches: jax.Array,
        *,
        channels: tuple[tuple[str, int], ...],
        drops: bool,
    ) -> dict[str, PyTree]:
        """Returns key -> what the model predicts, inside jit.

        Args:
          state: Parameters and collections.
          index: Says which random numbers are drawn.
          rest: Key -> what is not cut, `[1 ...]`.
          patches: `[b z y x c]`.
          channels: See `Inputs`.
          drops: Whether dropout drops.
        """
        num_patches = patches.shape[0]
        values: dict[str, Any] = {
            key: jnp.repeat(jnp.asarray(x), num_patches, axis=0)
            for key, x in rest.items()
        }
        num_slices = patches.shape[-1] // sum(num for _, num in channels)
        if num_slices == 1:
            values |= _split(patches, channels)
        else:  # neighbouring slices, each with all volumes
            values |= _split_slices(patches, channels, num_slices)
        streams = self.run.rng_streams
        rngs = streams.eval_rngs(index)
        if drops:
            rngs = {**streams.train_rngs(index), **rngs}
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.run.sharding.set_global_mesh())
            if drops:
                stack.enter_context(dropping.dropping())
            context = train_step.forward(
                Context.from_state_and_batch(
                    state=state, batch=nested(values)["batch"]
                ),
                model=self.model,
                rngs=rngs,
                is_training=False,
                method=self.method,
                capture=False,
                precision=self.run.precision,
            )
        preds = {_PREDS: context.preds}
        return {key: kontext.get_by_path(preds, key) for key in self.keys}


def read_preds(*groups: Any, keys: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the keys below `preds` that trees of metrics read, and further ones.

    They are those of arrays or trees of them, none of which lies in another one.
    """
    read = list(keys)
    for metric in intermediates.iter_metrics(groups):
        keys_of_metric = metric.context_keys()
        if keys_of_metric is None:
            return (_PREDS,)
        read += keys_of_metric
    found = {key for key in read if key.split(".")[0].split("[")[0] == _PREDS}
    if _PREDS in found or any("*" in key for key in found):
        return (_PREDS,)
    paths = {split_key(key)[0].parts for key in found}
    starts = {path: [path[:n] for n in range(1, len(path))] for path in paths}
    outer = [path for path in paths if not paths.intersection(starts[path])]
    return tuple(sorted(str(kontext.Path(*path)) for path in outer))


def split_key(key: str) -> tuple[kontext.Path, kontext.Path]:
    """Returns the key of an array and the slices behind it: `x.a`, `[..., :1]`."""
    parts = kontext.Path.from_str(key).parts
    is_name = [isinstance(part, str | int) for part in parts]
    num_names = is_name.index(False) if False in is_name else len(parts)
    return kontext.Path(*parts[:num_names]), kontext.Path(*parts[num_names:])


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a tree of dicts of keys."""
    tree: dict[Any, Any] = {}
    for key, value in values.items():
        *parents, name = kontext.Path.from_str(key).parts
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def _split(x: Any, channels: Sequence[tuple[str, int]]) -> dict[str, Any]:
    parts, first = {}, 0
    for key, num in channels:
        parts[key] = x[..., first : first + num]
        first += num
    return parts


def _split_slices(
    patches: jax.Array, channels: Sequence[tuple[str, int]], num_slices: int
) -> dict[str, jax.Array]:
    """Returns each volume with its neighbouring slices in its channels."""
    shape = patches.shape[:-1]
    apart = _split(patches.reshape(*shape, num_slices, -1), channels)
    return {key: x.reshape(*shape, -1) for key, x in apart.items()}
