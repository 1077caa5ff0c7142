"""What every block promises, checked by `check(Block(...))`: one line for each block."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from kauldron import ktyping, modules

_LEADING = (2, 3)
# Compiling takes longer than running: without LLVM's expensive passes, half of it.
_QUICK = {"xla_backend_optimization_level": 0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """A block under test.

    Attributes:
      name: Of the test.
      make: Returns the module.
      inputs: Shape of each argument for one example, without leading axes; `float32`.
        A pair `(shape, num_classes)` is an argument of class ids instead.
      output: Shape of the output for one example; of `pick(output)` if there is a pick.
      pick: Takes the array out of what the module returns.
      is_training: The mode.
      apart: Whether examples don't see each other (all but batch norm in training).
      without_gradient: Parameters, by regular expression of their path, that the output
        does not depend on, such as the bias of keys.
      without_names: Parameters whose axes have no logical names.
      bf16_atol: How far bf16 may be from f32, relative to the largest output.
      makes_same_dtype: Whether the output has the dtype of the input and parameters.
      rank_error: What an input with an axis too few raises, before anything is computed.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: tuple[Any, ...]
    output: tuple[int, ...]
    pick: Callable[[Any], Any] = lambda output: output
    is_training: bool = False
    apart: bool = True
    without_gradient: str = "$^"
    without_names: str = "$^"
    bf16_atol: float = 0.05
    makes_same_dtype: bool = True
    rank_error: type[Exception] = ktyping.KTypeCheckError

    def __str__(self) -> str:
        return self.name


def parametrize(blocks: list[Block]) -> Any:
    """Decorates a test of one argument, `block`."""
    return pytest.mark.parametrize("block", blocks, ids=str)


def check(block: Block) -> None:
    """Checks all promises of a block; compiles one program."""
    model = block.make()
    args = _inputs(block, _LEADING)
    with modules.set_train_property(block.is_training):
        variables = jax.jit(model.init, compiler_options=_QUICK)(
            jax.random.key(0), *args
        )
        results = _run(block, model, variables, args)
    _check_output(block, results)
    _check_gradients(block, results["grads"])
    _check_names(block, model, variables, args)
    _check_ranks(block, model, variables)


def _inputs(block: Block, leading: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    args: list[Any] = []
    for spec in block.inputs:
        if spec and isinstance(spec[0], tuple):
            shape, num_classes = spec
            args.append(rng.integers(num_classes, size=(*leading, *shape), dtype="i4"))
        else:
            args.append(rng.standard_normal((*leading, *spec), dtype=np.float32))
    return args


def _run(
    block: Block, model: nn.Module, variables: Mapping[str, Any], args: list[Any]
) -> dict[str, Any]:
    rngs = {"dropout": jax.random.key(1), "default": jax.random.key(2)}

    def output(variables: Mapping[str, Any], *args: Any) -> Any:
        result, _ = model.apply(
            variables, *args, rngs=rngs, mutable=["batch_stats", "intermediates"]
        )
        return block.pick(result)

    def run(variables: Mapping[str, Any], *args: Any) -> dict[str, Any]:
        def loss(params: Any) -> Any:
            y = output({**variables, "params": params}, *args)
            # Weights that are no multiple of each other: a norm does not hide them.
            weights = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
            return jnp.sum(y * weights), y

        (_, y), grads = jax.value_and_grad(loss, has_aux=True)(
            variables.get("params", {})
        )
        n = _LEADING[0] * _LEADING[1]
        flat = [jnp.reshape(a, (n, *a.shape[len(_LEADING) :])) for a in args]
        half = jax.tree.map(_to_bf16, (variables, args))
        return {
            "y": y,
            "grads": grads,
            "flat": output(variables, *flat),
            "half": output(half[0], *half[1]),
        }

    jitted = jax.jit(run, compiler_options=_QUICK)
    results = jitted(variables, *args)
    jitted(variables, *args)
    assert jitted._cache_size() == 1, "the second call compiled again"
    return results


def _to_bf16(x: Any) -> Any:
    return x.astype(jnp.bfloat16) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _check_output(block: Block, results: Mapping[str, Any]) -> None:
    y = np.asarray(results["y"])
    assert y.shape == (*_LEADING, *block.output)
    assert np.isfinite(y).all()
    if block.apart:
        np.testing.assert_allclose(
            results["flat"].reshape(y.shape), y, rtol=1e-4, atol=1e-5
        )
    half = np.asarray(results["half"], np.float32)
    if block.makes_same_dtype:
        assert results["half"].dtype == jnp.bfloat16, "bfloat16 became another dtype"
    assert np.isfinite(half).all()
    atol = block.bf16_atol * float(np.abs(y).max())
    np.testing.assert_allclose(half, y, rtol=0, atol=atol)


def _check_gradients(block: Block, grads: Any) -> None:
    # In NumPy: to compare arrays of JAX is a program for each of their shapes.
    for path, grad in jax.tree.leaves_with_path(jax.device_get(grads)):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        assert np.isfinite(grad).all(), f"the gradient of {name} is not finite"
        if not re.search(block.without_gradient, name):
            assert np.any(grad != 0), f"no gradient reaches {name}"


def _check_names(
    block: Block, model: nn.Module, variables: Mapping[str, Any], args: list[Any]
) -> None:
    axes = modules.logical_axes(model, *args)
    params = variables.get("params", {})
    is_spec = lambda x: isinstance(x, PartitionSpec)  # noqa: E731 (a predicate)
    specs = dict(
        jax.tree.leaves_with_path(axes.get("params", {}), is_leaf=is_spec),
    )
    assert specs.keys() == dict(jax.tree.leaves_with_path(params)).keys()
    for path, leaf in jax.tree.leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if re.search(block.without_names, name):
            continue
        assert len(specs[path]) == leaf.ndim, f"{name} has axes {specs[path]}"
        assert set(specs[path]) <= {*modules.AXIS_NAMES, None}, name


def _check_ranks(block: Block, model: nn.Module, variables: Mapping[str, Any]) -> None:
    """An argument with too few axes is refused, before anything is computed."""
    args = _inputs(block, ())
    args[0] = args[0][0]
    with (
        modules.set_train_property(False),
        pytest.raises(block.rank_error),
    ):
        jax.eval_shape(lambda *args: model.apply(variables, *args), *args)
