"""Shapes of what a model makes, and sizes it takes: found by tracing, never by running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax

from kauldron import kontext
from kauldron.ktyping import PyTree
from kauldron.modules import _train_property
from kauldron.modules.graph import _node

_STREAMS = ("params", "dropout", "default")
# Sizes to try beyond the given one, in multiples of a factor.
_TRIED = (1, 2, 3)


def output_shapes(
    model: nn.Module, *args: PyTree, is_training: bool = False, **kwargs: PyTree
) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns shape and dtype of what each module of a model makes, without running it.

    Args:
      model: Any Flax module.
      *args: What it is called with: arrays, or anything with `shape` and `dtype`.
      is_training: Value of the train property.
      **kwargs: Likewise. A `kd.nn.Graph` takes `batch=...`.

    Returns:
      Key -> shape and dtype, such as `interms.encoder.__call__[0]` and `preds.logits`, in
      the order of the names.

    Example:

    ```python
    import jax
    from flax import linen as nn
    from kauldron import kd

    shapes = kd.nn.output_shapes(nn.Dense(3), jax.ShapeDtypeStruct((2, 8), "float32"))
    assert shapes["preds"].shape == (2, 3)
    ```
    """
    with _train_property.set_train_property(is_training):
        variables = _init(model, args, kwargs)
        preds, changed = _apply(model, variables, args, kwargs, capture=True)
    interms = changed.get("intermediates", {})
    found = kontext.flatten_with_path({"interms": interms, "preds": preds})
    return {str(path): spec for path, spec in found.items()}


def downsampling_factor(
    model: nn.Module,
    *args: PyTree,
    is_training: bool = False,
    axes: Sequence[int] | None = None,
    **kwargs: PyTree,
) -> tuple[int | None, ...]:
    """Returns which multiple the size of each spatial axis must be, without running.

    A U-Net that halves its input three times, and joins what it keeps of each size on the
    way back, needs multiples of 8. A model that takes any size has the factor 1, even
    if it halves.

    Args:
      model: Any Flax module.
      *args: What it is called with, of sizes that work: arrays, or anything with `shape`
        and `dtype`.
      is_training: Value of the train property.
      axes: Which axes; those between the first and the last of the first input of at
        least three axes, unless given.
      **kwargs: Likewise. A `kd.nn.Graph` takes `batch=...`.

    Returns:
      For each axis the factor; `None` where no other size works with the same
      parameters. Inputs with the same number of axes and the same size of one change it
      together.

    Raises:
      GraphError: A `ValueError`: there is no spatial axis.
      Exception: What the model raises at the sizes given.

    Example:

    ```python
    import jax
    from flax import linen as nn
    from kauldron import kd

    image = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    conv = nn.Conv(8, kernel_size=(3, 3), strides=(2, 2))
    assert kd.nn.downsampling_factor(conv, image) == (1, 1)
    ```
    """
    inputs = (args, kwargs)
    shapes = [x.shape for x in jax.tree.leaves(inputs) if is_array(x)]
    shape = next((s for s in shapes if len(s) >= 3), None)
    if shape is None:
        raise _node.GraphError(
            "There is no spatial axis: an input needs at least three axes, "
            f"(batch, *spatial, channels). Shapes of the inputs: {shapes}."
        )
    if axes is None:
        axes = range(1, len(shape) - 1)
    with _train_property.set_train_property(is_training):
        variables = _init(model, *inputs)
        _apply(model, variables, *inputs)

        def runs(axis: int, size: int) -> bool:
            try:
                _apply(model, variables, *_resized(inputs, shape, axis, size))
            except Exception:  # whatever a model says of sizes that don't fit
                return False
            return True

        return tuple(
            next(
                (
                    factor
                    for factor in _divisors(shape[axis])
                    if all(runs(axis, shape[axis] + n * factor) for n in _TRIED)
                ),
                None,
            )
            for axis in axes
        )


def is_array(x: Any) -> bool:
    """Whether something has a shape and a dtype."""
    return hasattr(x, "shape") and hasattr(x, "dtype")


def eval_shape(function: Callable[..., Any], *args: PyTree) -> Any:
    """`jax.eval_shape` that leaves Python values, such as flags, as they are.

    Args:
      function: What to follow.
      *args: Trees of arrays, of anything with `shape` and `dtype`, or of other values.
    """
    leaves, structure = jax.tree.flatten(args)
    arrays = {
        i: jax.ShapeDtypeStruct(x.shape, x.dtype)
        for i, x in enumerate(leaves)
        if is_array(x)
    }

    def call(arrays: dict[int, Any]) -> Any:
        merged = [arrays.get(i, x) for i, x in enumerate(leaves)]
        return function(*structure.unflatten(merged))

    return jax.eval_shape(call, arrays)


def _rngs() -> dict[str, Any]:
    return {name: jax.random.key(0) for name in _STREAMS}


def _init(model: nn.Module, args: Any, kwargs: Any) -> Any:
    return eval_shape(lambda a, k: model.init(_rngs(), *a, **k), args, kwargs)


def _apply(
    model: nn.Module, variables: Any, args: Any, kwargs: Any, *, capture: bool = False
) -> Any:
    def apply(variables: Any, args: Any, kwargs: Any) -> Any:
        return model.apply(
            variables,
            *args,
            rngs=_rngs(),
            mutable=True,
            capture_intermediates=capture,
            **kwargs,
        )

    return eval_shape(apply, variables, args, kwargs)


def _resized(inputs: Any, shape: tuple[int, ...], axis: int, size: int) -> Any:
    def resize(x: Any) -> Any:
        alike = is_array(x) and len(x.shape) == len(shape)
        if not alike or x.shape[axis] != shape[axis]:
            return x
        new = list(x.shape)
        new[axis] = size
        return jax.ShapeDtypeStruct(tuple(new), x.dtype)

    return jax.tree.map(resize, inputs)


def _divisors(size: int) -> list[int]:
    return [n for n in range(1, size + 1) if size % n == 0]
