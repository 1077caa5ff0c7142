"""All weights of a state in one safetensors file, and the way back."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from etils import epath

from kauldron import checkpoints, sharding
from kauldron.export import _named_leaves
from kauldron.sharding import TrainState


def save_weights(state: TrainState, path: epath.PathLike) -> None:
    """Writes parameters and collections, under the names that checkpoints have.

    Args:
      state: Has `params` and `collections`.
      path: The file, `*.safetensors`.
    """
    tree = _variables(state)
    named = _named_leaves.NamedLeaves.of(tree, _named_leaves.dotted).flatten(tree)
    arrays = {k: np.array(x, order="C") for k, x in sharding.to_host(named).items()}
    num_bytes = sum(x.nbytes for x in arrays.values())
    checkpoints.save_safetensors(arrays, path, max_shard_bytes=num_bytes + 1)


def load_weights(path: epath.PathLike, specs: TrainState) -> TrainState:
    """Returns a state with the weights of a file of `save_weights`.

    Args:
      path: The file.
      specs: The state as `jax.ShapeDtypeStruct`s, or another one of the same model.

    Raises:
      CheckpointError: If the file lacks a weight, or one has another shape.
    """
    leaves = _named_leaves.NamedLeaves.of(_variables(specs), _named_leaves.dotted)
    arrays = checkpoints.SafetensorsFiles(path).read(dict.fromkeys(leaves.specs))
    for name, spec in leaves.specs.items():
        if arrays[name].shape != spec.shape:
            raise checkpoints.CheckpointError(
                f"{name!r} of {str(path)!r} has the shape {arrays[name].shape}, and the "
                f"model's is {spec.shape}: these are the weights of another model."
            )
    variables = leaves.unflatten(jax.device_put(arrays))
    return dataclasses.replace(specs, **variables)


def _variables(state: TrainState) -> dict[str, object]:
    return {"params": state.params, "collections": state.collections or {}}
