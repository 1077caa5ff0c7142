"""The forward pass: the model and its losses, with inputs looked up by key."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kauldron import losses as losses_lib
from kauldron import modules
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.ktyping import Float, PRNGKeyArray, PyTree, typechecked
from kauldron.step import (
    intermediates,
    mixed_precision,
    module_errors,
    rematerialization,
)
from kauldron.step.context import Context


class PredictionError(errors.UserError, TypeError):
    """A model returned something that no device can hold."""


def forward(
    context: Context,
    *,
    model: Any,
    rngs: Mapping[str, PRNGKeyArray[""]],
    is_training: bool,
    method: str | Callable[..., Any] | None = None,
    capture: intermediates.Capture = True,
    precision: mixed_precision.Precision | None = None,
    remat: rematerialization.Remat | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> Context:
    """Runs the model on the values its keys point to.

    Args:
      context: With `batch`, `params` and `collections`.
      model: Flax module.
      rngs: Keys by stream name.
      is_training: Value of the train property.
      method: Method of the model to call; `__call__` unless given.
      capture: Which outputs of modules become `interms`, see `nn.Module.apply`; all
        unless given.
      precision: Dtypes of the model; `None` leaves them to the model.
      remat: What is computed again for gradients; only in training.
      inputs: Arguments of the model by name, in place of what its keys point to.

    Returns:
      The context with `preds`, `interms` and the new `collections`.

    Raises:
      PredictionError: A `TypeError`: something that the model returned is not an array.
    """
    args, kwargs = (), inputs
    if kwargs is None:
        args, kwargs = data_utils.get_model_inputs(model, context)
    params = context.params
    with contextlib.ExitStack() as stack:
        stack.enter_context(modules.set_train_property(is_training))
        if precision is not None:
            params = precision.cast_params(params, use="compute")
            stack.enter_context(precision.applied())
        if remat is not None and is_training:
            capture = stack.enter_context(remat.applied(capture))
        apply = functools.partial(
            model.apply,
            {"params": params, **(context.collections or {})},
            *args,
            rngs=rngs,
            method=method,
            mutable=True,
            **kwargs,
        )
        try:
            try:
                with modules.intermediates_read(capture):
                    preds, variables = apply(capture_intermediates=capture)
            except modules.IntermediateError:
                if capture is True:
                    raise
                # The model itself reads an output that no key does.
                with modules.intermediates_read(True):
                    preds, variables = apply(capture_intermediates=True)
        except Exception as e:
            module_errors.add_note(e)
            raise
    _check_arrays(preds)
    collections = dict(variables)
    interms = _only_arrays(collections.pop("intermediates", {}))
    collections.pop("params", None)  # a forward pass does not change parameters
    return dataclasses.replace(
        context, preds=preds, interms=interms, collections=collections
    )


def _only_arrays(interms: PyTree) -> Any:
    """Returns intermediates with `None` in the place of what is no array.

    Flax records the methods of modules whatever they return, such as the layer that a
    method makes, and a step could not return that.
    """
    kinds = (jax.Array, np.ndarray, np.generic, int, float, complex)
    return jax.tree.map(lambda x: x if isinstance(x, kinds) else None, interms)


def _check_arrays(preds: PyTree) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(preds):
        if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float | complex):
            raise PredictionError(
                f"A model must return arrays: got {leaf!r} ({type(leaf).__name__}) as "
                f"`preds{jax.tree_util.keystr(path)}`. Leave it out, or make it a number."
            )


@typechecked
def forward_with_loss(
    context: Context,
    *,
    model: Any,
    losses: PyTree[losses_lib.Loss],
    rngs: Mapping[str, PRNGKeyArray[""]],
    is_training: bool,
    capture: intermediates.Capture = True,
    precision: mixed_precision.Precision | None = None,
    remat: rematerialization.Remat | None = None,
) -> tuple[Float[""], Context]:
    """Runs the model and the losses; for the arguments, see `forward`.

    Returns:
      The sum of the weighted losses (`Float32[""]`), and the context with `loss_states`
      and `loss_total` as well.
    """
    context = forward(
        context,
        model=model,
        rngs=rngs,
        is_training=is_training,
        capture=capture,
        precision=precision,
        remat=remat,
    )
    total, states = losses_lib.compute_losses(losses, context)
    return total, dataclasses.replace(context, loss_states=states, loss_total=total)
