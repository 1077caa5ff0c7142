"""LoRA adapters of which each row of a batch takes one, or none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from kauldron import lm
from kauldron.ktyping import Array, Float, Int, PyTree

# Of a module whose kernel has an adapter, in the parameters of `kd.lm.LoRA`.
_KERNEL = "kernel"


def stacked(
    adapters: Mapping[str, tuple[lm.LoRA, PyTree]], params: PyTree
) -> dict[str, Any]:
    """Returns all adapters of each module in one array, the first of them zero.

    Adapters of fewer targets or a smaller rank are filled up with zeros.

    Args:
      adapters: Name to the tuned model and its parameters.
      params: Parameters of the model that is served.

    Returns:
      Path of a module to `a`, `[adapters, inputs, rank]`, and `b`, `[adapters, rank,
      outputs]`, which has the factor of the adapter in it.

    Raises:
      LoRAError: If an adapter is of another model, or of a weight that is no kernel of
        one layer.
    """
    wide = jax.eval_shape(lambda x: lm.dequantize(x, jnp.float32), params)
    shapes = {k: v.shape for k, v in _flat(wide).items()}
    found: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
    for index, (name, (model, updates)) in enumerate(adapters.items(), start=1):
        flat = _flat(updates)
        for path in {path[:-1] for path in flat}:
            a, b = (np.asarray(flat[*path, side]) for side in ("a", "b"))
            _check(name, path, a, b, shapes)
            rank = a.shape[-1]
            matrices = a.reshape(-1, rank), b.reshape(rank, -1)
            scale = np.float32(model.alpha / model.rank)
            of_module = found.setdefault(".".join(path[:-1]), {})
            of_module[index] = matrices[0], scale * matrices[1]
    number = len(adapters) + 1
    return {path: _filled_up(some, number) for path, some in found.items()}


def _flat(tree: PyTree) -> dict[tuple[str, ...], Any]:
    return dict(traverse_util.flatten_dict(tree))


def _check(
    name: str,
    path: tuple[str, ...],
    a: np.ndarray,
    b: np.ndarray,
    shapes: Mapping[tuple[str, ...], tuple[int, ...]],
) -> None:
    weight = ".".join(path)
    if path not in shapes:
        raise lm.LoRAError(
            f"The adapter {name!r} is of another model: it updates `{weight}`, which is "
            "not there."
        )
    if (*a.shape[:-1], *b.shape[1:]) != shapes[path] or a.shape[-1] != b.shape[0]:
        raise lm.LoRAError(
            f"The adapter {name!r} does not fit `{weight}`, {shapes[path]}: got `a` of "
            f"{a.shape} and `b` of {b.shape}. Layers in a scan (`scan_layers`) can't "
            "have adapters here."
        )
    if path[-1] != _KERNEL:
        raise lm.LoRAError(
            f"The adapter {name!r} updates `{weight}`: served are adapters of kernels "
            "of attention and dense feed-forward layers. `kd.lm.merge_lora` makes it "
            "a model of its own."
        )


def _filled_up(
    some: Mapping[int, tuple[np.ndarray, np.ndarray]], number: int
) -> dict[str, Any]:
    a, b = next(iter(some.values()))
    rank = max(x.shape[-1] for x, _ in some.values())
    all_a = np.zeros((number, a.shape[0], rank), a.dtype)
    all_b = np.zeros((number, rank, b.shape[1]), b.dtype)
    for index, (a, b) in some.items():
        all_a[index, :, : a.shape[1]] = a
        all_b[index, : b.shape[0]] = b
    return {"a": jnp.asarray(all_a), "b": jnp.asarray(all_b)}


def added(adapters: Mapping[str, Any], index: Int["*b"]) -> Any:
    """Returns a context in which modules add the update of each row's adapter.

    Args:
      adapters: Of `stacked`.
      index: Adapter of each row; 0 is none.
    """

    def run(
        call: Callable[..., Any], args: Any, kwargs: Any, context: Any
    ) -> Array["*any"]:
        y = call(*args, **kwargs)
        pair = adapters.get(".".join(context.module.path))
        if pair is None or context.method_name != "__call__":
            return y
        return y + update(args[0], pair, index).reshape(y.shape).astype(y.dtype)

    return nn.intercept_methods(run)


def update(
    x: Float["b t *d"], pair: Mapping[str, Any], index: Int["*b"]
) -> Float["b t o"]:
    """Returns what the adapters of the rows add to a linear map.

    Args:
      x: Input of the linear map.
      pair: `a` and `b` of `stacked`.
      index: Adapter of each row; 0 is none.
    """
    num_rows, length = x.shape[:2]
    x = x.reshape(num_rows, length, math.prod(x.shape[2:]))
    f32 = {"preferred_element_type": jnp.float32}
    a, b = (pair[side][index].astype(x.dtype) for side in ("a", "b"))
    low = jnp.einsum("bti,bir->btr", x, a, **f32).astype(x.dtype)
    return jnp.einsum("btr,bro->bto", low, b, **f32)
