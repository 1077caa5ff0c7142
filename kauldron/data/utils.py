"""Batches and specs on their way into models."""

from __future__ import annotations

from typing import Any

from kauldron import kontext
from kauldron.data import _specs


def mock_batch_from_elem_spec(elem_spec: Any, elem_sharding: Any = None) -> Any:
    """Returns a batch of zeros of the given specs, as JAX arrays.

    Args:
      elem_spec: Pytree of `enp.ArraySpec`, or of anything with `shape` and `dtype`.
      elem_sharding: Constraint on the batch inside jit, if given.
    """
    import jax
    import jax.numpy as jnp

    batch = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), batch_specs(elem_spec))
    if elem_sharding is None:
        return batch
    from kauldron import sharding

    return sharding.with_sharding_constraint(batch, elem_sharding)


def batch_specs(element_spec: Any) -> Any:
    """Returns the specs as `jax.ShapeDtypeStruct`s, with the dtypes that JAX gives them.

    Keys that hold no numbers, such as texts, are left out.
    """
    import jax

    def convert(spec: Any) -> Any:
        dtype = _specs.np_dtype(spec.dtype)
        return jax.ShapeDtypeStruct(spec.shape, jax.dtypes.canonicalize_dtype(dtype))

    return jax.tree.map(convert, numeric(element_spec))


def get_global_elem_spec(elem_spec: Any, elem_sharding: Any = None) -> Any:
    """Returns the specs of the global batch, of all processes together.

    Args:
      elem_spec: Specs of what one process loads.
      elem_sharding: Sharding of the batch; the first axis is split unless it is a fully
        replicated one.
    """
    from kauldron.data import _processes

    _, count = _processes.index_and_count()
    if count == 1 or getattr(elem_sharding, "is_fully_replicated", False):
        return elem_spec
    import jax

    num_rows = {leaf.shape[0] for leaf in jax.tree.leaves(elem_spec)}
    (per_process,) = num_rows
    return _specs.with_num_rows(elem_spec, per_process * count)


def get_model_inputs(
    model: Any, context: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns what a model is called with: `model(*args, **kwargs)`.

    Args:
      model: Its `kontext.Key` fields name its arguments. A model without any gets the
        whole batch as the only argument.
      context: Where the keys point into; has `batch`.

    Raises:
      KeyPathError: If the context lacks a value.
      KeySignatureError: If `__call__` has no such argument.
    """
    if not kontext.get_keypaths(model):
        return (context.batch,), {}
    kwargs = kontext.resolve_from_keyed_obj(context, model, func=model.__call__)
    return (), kwargs


def get_model_inputs_from_batch(
    model: Any, batch: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns what a model is called with, from a batch alone."""
    import types

    return get_model_inputs(model, types.SimpleNamespace(batch=batch))


def numeric(batch: Any) -> Any:
    """Returns a batch, or its specs, without the keys that hold texts."""
    if not isinstance(batch, dict):
        return batch
    kept = {key: numeric(child) for key, child in batch.items()}
    return {
        key: child
        for key, child in kept.items()
        if not (hasattr(child, "dtype") and _is_text(child.dtype))
    }


def _is_text(dtype: Any) -> bool:
    return dtype is str or _specs.np_dtype(dtype).kind in "OUS"
