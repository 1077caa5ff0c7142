"""The training step as a program, made from shapes alone: to be looked at, not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from kauldron import sharding
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.sharding import TrainState


class NoStepError(errors.UserError, ValueError):
    """A run that makes no update, so that there is no step to look at."""


def lower_trainstep(trainer: Any) -> jax.stages.Lowered:
    """Returns the step of a trainer, lowered; no array is made.

    It is the step that logs: it returns losses and metrics, but no summaries. Its state
    is donated.

    Args:
      trainer: A `kd.train.Trainer`.

    Raises:
      NoStepError: A `ValueError`: the run has no optimizer, or `train_ds` no batch.
      kd.sharding.BatchSizeError: If the batch does not divide over the devices.

    Example:

    ```python
    print(kd.inspect.lower_trainstep(trainer).as_text()[:1000])
    ```
    """
    step, args = as_function(trainer)
    with trainer.sharding.set_global_mesh():
        return jax.jit(step, donate_argnums=0).lower(*args)


def as_function(trainer: Any) -> tuple[Callable[..., Any], tuple[TrainState, Any]]:
    """Returns the step as a function of state and batch, and the specs of these."""
    if trainer.optimizer is None:
        raise NoStepError(
            "The run has no optimizer (`cfg.optimizer` is None), so there is no training "
            "step to look at. A config that trains has one."
        )
    options: dict[str, Any] = {
        "return_losses": True,
        "return_metrics": True,
        "return_summaries": False,
        "checkify_error_categories": trainer.checkify_error_categories,
    }
    if trainer.nan_guard is not None:
        options["is_halted"] = jnp.zeros((), bool)

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
        after, aux = trainer.trainstep.step(state, batch, **options)
        if (packed := getattr(aux, "packed", None)) is None:
            return after, aux
        return after, (packed, aux.error, aux.is_halted)  # as the step returns it

    return step, (trainer.state_specs, batch_specs(trainer))


def batch_specs(trainer: Any) -> Any:
    """Returns the specs of the global batch, each with its sharding."""
    if trainer.train_ds is None:
        raise NoStepError(
            "The run has no batches to train on (`cfg.train_ds` is None): the memory of "
            "a step depends on their size."
        )
    placement = trainer.sharding.batch
    specs = data_utils.get_global_elem_spec(trainer.train_ds.element_spec, placement)
    specs = data_utils.batch_specs(specs)
    trainer.sharding.check_batch(specs)
    return sharding.with_sharding_constraint(specs, placement)


class Rows(NamedTuple):
    """The rows of a batch.

    Attributes:
      number: Of all devices together.
      num_shards: In how many parts they are split.
      mesh_axes: Axes of the mesh that they are split over.
    """

    number: int
    num_shards: int
    mesh_axes: tuple[str, ...]


def batch_rows(trainer: Any) -> Rows:
    """Returns how many rows a batch has, and how they are split."""
    for x in jax.tree.leaves(batch_specs(trainer)):
        if x.shape and x.shape[0]:
            placement, axes = x.sharding, ()
            if placement is None:
                return Rows(x.shape[0], 1, ())
            if isinstance(placement, NamedSharding) and placement.spec:
                axes = placement.spec[0] or ()
            num_shards = x.shape[0] // placement.shard_shape(x.shape)[0]
            names = (axes,) if isinstance(axes, str) else tuple(axes)
            return Rows(x.shape[0], num_shards, names)
    return Rows(1, 1, ())
