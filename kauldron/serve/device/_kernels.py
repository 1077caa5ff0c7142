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
from typing import Any, NamedTuple

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


class LinearMap(NamedTuple):
    """A linear map of a model.

    Attributes:
      module: Its path.
      num_in: How many axes of its kernel are inputs.
      group: Modules that read the same input, this one among them.
      first: The first of its outputs among those of the group.
    """

    module: str
    num_in: int
    group: tuple[str, ...]
    first: int

    @property
    def key(self) -> str:
        """By what the kernel of the group, which has all its outputs, is kept."""
        return "+".join(self.group)

    def kept_in(self, kernels: Mapping[str, Any]) -> LinearMap | None:
        """Returns the map as its kernel is kept, alone or in its group; `None` if not."""
        alone = self._replace(group=(self.module,), first=0)
        return next((x for x in (self, alone) if x.key in kernels), None)


def taken_out(
    model: kd_nn.CausalLM, params: PyTree, *, turns: bool, owns_params: bool
) -> tuple[Any, dict[str, Any]]:
    """Returns the other parameters, and kernels as `[outputs, inputs]` by group.

    Linear maps that read the same input have one kernel, so that programs have one product
    for them; in eight bits, where it would take longer with many rows, each has its own.

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
    for linear in linear_maps(model).values():
        kernel = flat.get(f"{linear.module}.{_KERNEL}")
        if kernel is None or not (turns or _is_small(kernel)):
            continue
        kinds = {_kind(flat.get(f"{name}.{_KERNEL}")) for name in linear.group}
        is_one = len(kinds) == 1 and not _is_small(kernel)
        group = linear.group if is_one else (linear.module,)
        parts = [flat.pop(f"{name}.{_KERNEL}") for name in group]
        join = functools.partial(_joined, num_in=linear.num_in)
        kernels["+".join(group)] = jax.tree.map(join, *parts)
        for x in jax.tree.leaves(parts) if owns_params else ():
            x.delete()
    return traverse_util.unflatten_dict(flat, sep="."), kernels


def _is_small(x: object) -> bool:
    return isinstance(x, dict) and set(x) == {_INT8, _SCALE}


def _kind(kernel: Any) -> Any:
    return _INT8 if _is_small(kernel) else getattr(kernel, "dtype", None)


def _joined(*parts: Array["*any"], num_in: int) -> jax.Array:
    # Before the next one, so that they can be deleted where they come from.
    return jax.block_until_ready(_join(parts, num_in))


@functools.partial(jax.jit, static_argnums=1)
def _join(parts: tuple[Array["*any"], ...], num_in: int) -> jax.Array:
    def turned(x: Array["*any"]) -> Array["*any"]:
        return x.reshape(math.prod(x.shape[:num_in]), math.prod(x.shape[num_in:])).T

    return jnp.concatenate([turned(x) for x in parts])


def linear_maps(model: kd_nn.CausalLM) -> dict[str, LinearMap]:
    """Returns the linear maps of a model by module."""
    groups: dict[Any, list[Any]] = {}

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if isinstance(module, kd_nn.Projection):
            inputs = id(args[0]), module.path[:-1], module.dtype
            # With the input, so that its id is of no other one.
            groups.setdefault(inputs, []).append((module, args[0]))
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    found = {}
    for group in groups.values():
        paths, first = tuple(".".join(module.path) for module, _ in group), 0
        for path, (module, _) in zip(paths, group, strict=True):
            num_in = len(module.axes) - len(module.features)
            found[path] = LinearMap(path, num_in, paths, first)
            first += math.prod(module.features)
    # In a scan, kernels have an axis of layers besides.
    return {path: x for path, x in found.items() if not path.startswith("layers.")}


class Products:
    """What linear maps give, of which those that read the same input are one product.

    Args:
      rounds: Whether inputs are rounded to the dtype of a kernel; sums and outputs stay
        in the dtype of the inputs.
    """

    def __init__(self, *, rounds: bool) -> None:
        self._rounds = rounds
        self._last: tuple[str, Any, Any] = "", None, None

    def of(
        self,
        module: kd_nn.Projection,
        linear: LinearMap,
        x: Float["*any"],
        kernels: Sequence[Any],
        bias: Float["*any"] | None,
        index: ScalarInt = 0,
    ) -> Float["*any"]:
        """Returns what a linear map gives with one of several kernels.

        Args:
          module: The linear map.
          linear: Where it is in its group.
          x: Its input.
          kernels: Of `taken_out`, all alike.
          bias: That is added.
          index: Which of the kernels.
        """
        key, before, y = self._last
        if key != linear.key or before is not x:
            y = _multiplied(x, kernels, index, module.dtype, self._rounds)
            self._last = linear.key, x, y
        y = y[..., linear.first : linear.first + math.prod(module.features)]
        y = y.reshape(*y.shape[:-1], *module.features)
        y, bias = dtypes.promote_dtype(y, bias, dtype=module.dtype)
        return y if bias is None else y + bias


def multiplied(
    model: kd_nn.CausalLM, kernels: Mapping[str, Any], *, rounds: bool
) -> Any:
    """Returns a context in which linear maps multiply with these kernels.

    Args:
      model: The decoder.
      kernels: Of `taken_out`.
      rounds: See `Products`.
    """
    maps, products = linear_maps(model), Products(rounds=rounds)

    def run(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        linear = maps.get(".".join(module.path))
        kept = None if linear is None else linear.kept_in(kernels)
        if kept is None or context.method_name != "__call__":
            return call(*args, **kwargs)
        (x,) = args
        bias = module.get_variable("params", "bias") if module.use_bias else None
        return products.of(module, kept, x, [kernels[kept.key]], bias)

    return nn.intercept_methods(run)


def _multiplied(
    x: Float["*any"],
    kernels: Sequence[Any],
    index: ScalarInt,
    dtype: Any,
    rounds: bool,
) -> Float["*any"]:
    """Returns what all outputs of a group are without bias."""
    is_small = _is_small(kernels[0])
    matrices = [some[_INT8] if is_small else some for some in kernels]
    num_in = matrices[0].shape[1]
    num_axes = x.ndim
    while math.prod(x.shape[num_axes:]) < num_in:
        num_axes -= 1
    lead = x.shape[:num_axes]
    rows = x.reshape(-1, num_in)
    if is_small:
        (rows,) = dtypes.promote_dtype(rows, dtype=dtype)
        scale = jnp.stack([some[_SCALE][:, 0] for some in kernels])[index]
        y = product_of_int8(rows, matrices, scale, index)
    elif rounds:
        (rows,) = dtypes.promote_dtype(rows, dtype=dtype)
        y = product(rows.astype(matrices[0].dtype), matrices, index=index)
    else:
        dtype = dtypes.canonicalize_dtype(rows, matrices[0], dtype=dtype)
        (rows,) = dtypes.promote_dtype(rows, dtype=dtype)
        y = product(rows, matrices, index=index)
    return y.astype(rows.dtype).reshape(*lead, -1)


def product(
    x: Float["b d"],
    kernels: Sequence[Float["v d"]],
    dtype: Any = jnp.float32,
    *,
    index: ScalarInt = 0,
) -> Float["b v"]:
    """Returns `x @ kernels[index].T` in `dtype`, whichever way kernels are read best."""
    if x.shape[0] == 1:
        # Turned to a vector here, and not in each branch.
        return _chosen_product(x[0], kernels, dtype, index, is_turned=False)[None]
    is_few = 1 < x.shape[0] < _MANY_ROWS
    is_wide = x.dtype.itemsize > 2
    is_turned = is_few and is_wide and jax.default_backend() == "cpu"
    y = _chosen_product(x, kernels, dtype, index, is_turned=is_turned)
    # The compiler would turn the product round again.
    return jax.lax.optimization_barrier(y).T if is_turned else y


def _chosen_product(
    x: Float["*b d"],
    kernels: Sequence[Float["v d"]],
    dtype: Any,
    index: ScalarInt,
    *,
    is_turned: bool,
) -> Float["*any"]:
    def of(kernel: Float["v d"], x: Float["*b d"]) -> Float["*any"]:
        kernel = kernel.astype(x.dtype)
        pair = (kernel, x) if is_turned else (x, kernel)
        last = (pair[0].ndim - 1,), (pair[1].ndim - 1,)
        # NumPy's product would make its operands as wide first.
        return jax.lax.dot_general(
            *pair, dimension_numbers=(last, ((), ())), preferred_element_type=dtype
        )

    if len(kernels) == 1:
        return of(kernels[0], x)
    return jax.lax.switch(index, [functools.partial(of, some) for some in kernels], x)


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
