"""Linear maps of a model, with kernels kept as a product with few rows reads them.

A decoding step reads every weight for a row or a few. On a CPU, XLA splits a product with
one row over the cores only if the kernel is `[outputs, inputs]`, and with several rows it
packs kernels of f32 anew each time, unless they come first in the product. It multiplies
bf16 and int8 by the processor's own instructions only if the sums stay wide, in f32 and int32.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from flax.linen import dtypes

from kauldron import modules as kd_nn
from kauldron.ktyping import Array, Float, PyTree, ScalarInt

_KERNEL = "kernel"
# Of a weight in eight bits, as `kd.lm.quantize` keeps it.
_INT8, _SCALE = "int8", "scale"
# With so many rows, a product is as fast either way, and its result need not be turned.
_MANY_ROWS = 64
_MOST = 127  # steps of eight bits to either side


def taken_out(
    model: kd_nn.CausalLM, params: PyTree, *, turns: bool, owns_params: bool
) -> tuple[Any, dict[str, Any]]:
    """Returns the other parameters, and kernels as `[outputs, inputs]` by module.

    Args:
      model: The decoder.
      params: Its parameters.
      turns: Whether all kernels are taken; else only those in eight bits, of which the
        copy is small.
      owns_params: Whether kernels are deleted where they come from.
    """
    flat: dict[str, Any] = traverse_util.flatten_dict(
        params, is_leaf=lambda _, x: _is_small(x), sep="."
    )
    kernels = {}
    for module, num_in in linear_maps(model).items():
        path = f"{module}.{_KERNEL}"
        if path in flat and (turns or _is_small(flat[path])):
            kernel = flat.pop(path)
            kernels[module] = jax.tree.map(lambda x, n=num_in: _turned(x, n), kernel)
            if owns_params:
                jax.tree.map(lambda x: x.delete(), kernel)
    return traverse_util.unflatten_dict(flat, sep="."), kernels


def _is_small(x: object) -> bool:
    return isinstance(x, dict) and set(x) == {_INT8, _SCALE}


def _turned(x: Array["*any"], num_in: int) -> jax.Array:
    # Before the next one, so that it can be deleted where it comes from.
    return jax.block_until_ready(_turn(x, num_in))


@functools.partial(jax.jit, static_argnums=1)
def _turn(x: Array["*any"], num_in: int) -> jax.Array:
    return x.reshape(math.prod(x.shape[:num_in]), math.prod(x.shape[num_in:])).T


def linear_maps(model: kd_nn.CausalLM) -> dict[str, int]:
    """Returns how many axes of the kernel of each linear map, by module, are inputs."""
    found: dict[str, int] = {}

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if isinstance(module, kd_nn.Projection):
            found[".".join(module.path)] = len(module.axes) - len(module.features)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    # In a scan, kernels have an axis of layers besides.
    return {path: n for path, n in found.items() if not path.startswith("layers.")}


def multiplied(kernels: Mapping[str, Any], rounds: bool) -> Any:
    """Returns a context in which linear maps multiply with these kernels.

    Args:
      kernels: By module.
      rounds: Whether inputs are rounded to the dtype of a kernel; sums and outputs stay
        in the dtype of the inputs.
    """

    def run(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        kernel = kernels.get(".".join(module.path))
        if kernel is None or context.method_name != "__call__":
            return call(*args, **kwargs)
        (x,) = args
        bias = module.get_variable("params", "bias") if module.use_bias else None
        return mapped(x, [kernel], 0, bias, module.features, module.dtype, rounds)

    return nn.intercept_methods(run)


def mapped(
    x: Float["*any"],
    kernels: Sequence[Any],
    index: ScalarInt,
    bias: Float["*any"] | None,
    features: tuple[int, ...],
    dtype: Any,
    rounds: bool,
) -> Float["*any"]:
    """Returns what a linear map does with one of several kernels.

    Args:
      x: Its input.
      kernels: Of `taken_out`, all alike.
      index: Which of them.
      bias: That is added.
      features: Sizes of the axes of the output.
      dtype: Of the computation; by default that of all together.
      rounds: See `multiplied`.
    """
    is_small = _is_small(kernels[0])
    matrices = [some[_INT8] if is_small else some for some in kernels]
    num_in = matrices[0].shape[1]
    num_axes = x.ndim
    while math.prod(x.shape[num_axes:]) < num_in:
        num_axes -= 1
    lead = x.shape[:num_axes]
    rows = x.reshape(-1, num_in)
    if is_small:
        rows, bias = dtypes.promote_dtype(rows, bias, dtype=dtype)
        scale = jnp.stack([some[_SCALE][:, 0] for some in kernels])[index]
        y = product_of_int8(rows, matrices, scale, index)
    elif rounds:
        rows, bias = dtypes.promote_dtype(rows, bias, dtype=dtype)
        y = product(rows.astype(matrices[0].dtype), matrices, index=index)
    else:
        dtype = dtypes.canonicalize_dtype(rows, matrices[0], bias, dtype=dtype)
        rows, bias = dtypes.promote_dtype(rows, bias, dtype=dtype)
        y = product(rows, matrices, index=index)
    y = y.astype(rows.dtype).reshape(*lead, *features)
    return y if bias is None else y + bias


def product(
    x: Float["b d"],
    kernels: Sequence[Float["v d"]],
    dtype: Any = jnp.float32,
    *,
    index: ScalarInt = 0,
) -> Float["b v"]:
    """Returns `x @ kernels[index].T` in `dtype`, whichever way kernels are read best."""
    # NumPy's product would make its operands as wide first.
    dot = functools.partial(
        jax.lax.dot_general,
        dimension_numbers=(((1,), (1,)), ((), ())),
        preferred_element_type=dtype,
    )
    is_few = 1 < x.shape[0] < _MANY_ROWS
    is_wide = x.dtype.itemsize > 2
    is_turned = is_few and is_wide and jax.default_backend() == "cpu"

    def of(kernel: Float["v d"], x: Float["b d"]) -> Float["*any"]:
        kernel = kernel.astype(x.dtype)
        return dot(kernel, x) if is_turned else dot(x, kernel)

    if len(kernels) == 1:
        y = of(kernels[0], x)
    else:
        y = jax.lax.switch(index, [functools.partial(of, some) for some in kernels], x)
    # The compiler would turn the product round again.
    return jax.lax.optimization_barrier(y).T if is_turned else y


def product_of_int8(
    x: Float["b d"],
    kernels: Sequence[Array["v d"]],
    scale: Float["*v"],
    index: ScalarInt = 0,
) -> Float["b v"]:
    """Returns `x @ (scale * kernels[index]).T` in f32.

    On a CPU, rows are rounded to eight bits too.
    """
    if jax.default_backend() != "cpu":
        return product(x, kernels, index=index) * scale
    x = x.astype(jnp.float32)
    largest = jnp.max(jnp.abs(x), axis=1, keepdims=True)
    unit = jnp.where(largest > 0, largest, 1.0) / _MOST
    steps = jnp.round(x / unit).astype(jnp.int8)
    return (
        product(steps, kernels, jnp.int32, index=index).astype(jnp.float32)
        * unit
        * scale
    )
