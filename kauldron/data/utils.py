"""Batches and specs on their way into a model."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kauldron import kontext
from kauldron._base import console, processes
from kauldron.data import _specs
from kauldron.data._batch_size import BatchSize as BatchSize

if TYPE_CHECKING:
    from kauldron.ktyping import PyTree


# Those of at most 32 bits, which JAX keeps whether or not it has 64 of them.
_KEPT_DTYPES = frozenset(
    map(np.dtype, ("f4", "f2", "i4", "i2", "i1", "u4", "u2", "u1", "?"))
)

# What a model is called with.
Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]


def mock_batch_from_elem_spec(elem_spec: PyTree, elem_sharding: Any = None) -> Any:
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


def array_spec_to_jnp_empty(array_spec: Any) -> Any:
    """Returns a JAX array of zeros with a spec's `shape` and `dtype`."""
    import jax.numpy as jnp

    return jnp.zeros(array_spec.shape, _specs.np_dtype(array_spec.dtype))


def batch_specs(element_spec: PyTree) -> Any:
    """Returns the specs as `jax.ShapeDtypeStruct`s, with the dtypes that JAX gives them.

    Keys that hold no numbers, such as texts, are left out.
    """
    import jax

    def convert(spec: PyTree) -> Any:
        dtype = _specs.np_dtype(spec.dtype)
        return jax.ShapeDtypeStruct(spec.shape, jax.dtypes.canonicalize_dtype(dtype))

    return jax.tree.map(convert, numeric(element_spec))


def get_global_elem_spec(per_host_elem_spec: Any, elem_sharding: Any = None) -> Any:
    """Returns the specs of the global batch, of all processes together.

    Args:
      per_host_elem_spec: Specs of what one process loads.
      elem_sharding: Sharding of the batch; the first axis is split unless it is a fully
        replicated one.
    """
    _, count = processes.index_and_count()
    if count == 1 or getattr(elem_sharding, "is_fully_replicated", False):
        return per_host_elem_spec
    import jax

    num_rows = {leaf.shape[0] for leaf in jax.tree.leaves(per_host_elem_spec)}
    (per_process,) = num_rows
    return _specs.with_num_rows(per_host_elem_spec, per_process * count)


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
    model: Any, batch: PyTree
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns what a model is called with, from a batch alone."""
    import types

    return get_model_inputs(model, types.SimpleNamespace(batch=batch))


def numeric(batch: PyTree) -> Any:
    """Returns a batch, or its specs, without the keys that hold texts."""
    if not isinstance(batch, dict):
        return batch
    kept = {key: numeric(child) for key, child in batch.items()}
    return {
        key: child
        for key, child in kept.items()
        if not (hasattr(child, "dtype") and _is_text(child.dtype))
    }


def for_devices(batch: PyTree) -> Any:
    """Returns what JAX can put on devices: `numeric(batch)`, in dtypes that JAX keeps.

    Without `jax_enable_x64` it silently truncates 64 bits to 32: 2**32 + 7 becomes 7.
    Here an integer that does not fit becomes the largest or smallest that does, which
    is neither a class nor an embedding row; a warning names the key once. It may be a
    key that nothing reads, such as the hash of a file name. `WriteOutputs` and
    `Predictor` take the keys of the batch from the host, as they are.
    """
    if type(batch) is dict and all(map(_is_kept, batch.values())):
        return batch  # nearly all are like this, and a small step takes no longer
    batch = numeric(batch)
    return batch if _has_64_bits() else _narrow(batch, "")


def names_of_float64(element_spec: PyTree) -> list[str]:
    """Returns the keys of a spec that JAX would hold in fewer bits."""
    if _has_64_bits():
        return []
    leaves = kontext.flatten_with_path(numeric(element_spec))
    return [
        str(path)
        for path, spec in leaves.items()
        if _specs.np_dtype(spec.dtype) in (np.float64, np.complex128)
    ]


def names_of_texts(batch: PyTree) -> list[str]:
    """Returns the keys of a batch, or of its specs, that hold no numbers but texts."""
    return [
        str(path)
        for path, leaf in kontext.flatten_with_path(batch).items()
        if isinstance(leaf, str | bytes)
        or (hasattr(leaf, "dtype") and _is_text(leaf.dtype))
    ]


def holds_texts(element_spec: PyTree, path: str) -> bool:
    """Whether a path such as `'features'` names texts in the spec of a batch."""
    try:
        spec = kontext.get_by_path(element_spec, path)
    except (kontext.KeyPathError, KeyError, TypeError):
        return False
    return hasattr(spec, "dtype") and _is_text(spec.dtype)


class Naming:
    """Names the dataset in errors raised inside, such as `cfg.eval_ds`."""

    def __init__(self, field: str) -> None:
        self._note = f"The dataset is `{field}`."

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        is_failure = isinstance(error, Exception) and type(error) is not StopIteration
        if (
            error is not None
            and is_failure
            and self._note not in getattr(error, "__notes__", ())
        ):
            error.add_note(self._note)


def _is_kept(array: object) -> bool:
    return type(array) is np.ndarray and array.dtype in _KEPT_DTYPES


def _has_64_bits() -> bool:
    import jax

    return jax.dtypes.canonicalize_dtype(np.float64) == np.float64


def _narrow(tree: PyTree, path: str) -> Any:
    if isinstance(tree, dict):
        return {
            key: _narrow(child, f"{path}.{key}" if path else str(key))
            for key, child in tree.items()
        }
    if isinstance(tree, list | tuple):
        parts = [_narrow(child, f"{path}[{i}]") for i, child in enumerate(tree)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if not isinstance(tree, np.ndarray | np.generic) or not tree.size:
        return tree
    return _narrow_array(tree, path)


def _narrow_array(tree: PyTree, path: str) -> Any:
    if tree.dtype in (np.int64, np.uint64):
        narrow = np.int32 if tree.dtype == np.int64 else np.uint32
        bounds = np.iinfo(narrow)
        if tree.min() >= bounds.min and tree.max() <= bounds.max:
            return tree
        _tell_what_does_not_fit(path, str(tree.dtype), narrow.__name__)
        return tree.clip(bounds.min, bounds.max)
    if tree.dtype != np.float64:
        return tree
    with np.errstate(over="ignore"):
        narrow_floats = np.asarray(tree, np.float32)
    if (np.isinf(narrow_floats) & np.isfinite(tree)).any():
        _tell_what_does_not_fit(path, "float64", "float32")
    return narrow_floats


@functools.cache  # once by key
def _tell_what_does_not_fit(path: str, dtype: str, narrow: str) -> None:
    largest = "infinity" if narrow == "float32" else f"the limits of {narrow}"
    console.warn(
        f"`{f'batch.{path}' if path else 'batch'}` is {dtype}, and has numbers that "
        f"{narrow} cannot hold: on devices they become {largest}. If something reads them, "
        "convert them, or switch 64 bits on: `jax.config.update('jax_enable_x64', True)`."
    )


def _is_text(dtype: object) -> bool:
    # Dates too: JAX has no such dtype.
    return dtype is str or _specs.np_dtype(dtype).kind in "OUSMm"
