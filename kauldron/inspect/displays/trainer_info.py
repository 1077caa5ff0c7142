"""A run at a glance: config, data, model, keys, schedules, placement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kauldron.inspect import _sharding_table
from kauldron.inspect.displays import (
    batches,
    connections,
    context_trees,
    galleries,
    models,
    parameters,
    schedules,
)
from kauldron.inspect.displays.sections import Sections

if TYPE_CHECKING:
    from kauldron import train

# Of runs that last until their data end.
_STEPS_SHOWN = 1000


def show_trainer_info(
    trainer: train.Trainer,
    *,
    print_cfg: bool = True,
    inspect_dataset: bool = True,
    inspect_params: bool = True,
    inspect_sharding: bool = True,
    inspect_connected: bool = True,
    profile_statix: bool = False,
) -> Sections:
    """Returns what there is to see of a run before it begins; nothing is trained.

    Args:
      trainer: The run.
      print_cfg: Whether its config is shown, if it was made of one.
      inspect_dataset: Whether a batch is read and shown.
      inspect_params: Whether modules, parameters and operations are shown.
      inspect_sharding: Whether it is shown which device holds what.
      inspect_connected: Whether keys and what reads them are shown.
      profile_statix: Whether the floating-point operations of a batch are shown.
    """
    parts: dict[str, Any] = {}
    config = getattr(trainer, "raw_cfg", None)
    if print_cfg and config is not None:
        parts["Config"] = config
    if inspect_dataset:
        batch = next(iter(trainer.train_ds.take(1)))
        parts["A batch"] = batches.get_batch_stats(batch)
        parts["Examples"] = galleries.plot_batch(batch)
    if inspect_connected:
        parts["Keys"] = context_trees.plot_context(trainer)
        parts["What reads them"] = connections.get_connection_graph(trainer)
    if inspect_params:
        parts["Parameters"] = parameters.parameter_table(trainer)
        parts["Modules"] = models.model_overview(trainer)
    if profile_statix:
        parts["Operations"] = models.flops_table(trainer)
    if trainer.logged_schedules:
        steps = trainer.num_train_steps or _STEPS_SHOWN
        parts["Schedules"] = schedules.plot_schedules(trainer.logged_schedules, steps)
    if inspect_sharding:
        parts["Devices"] = plot_sharding(trainer)
    return Sections(parts=parts)


def plot_sharding(trainer: train.Trainer) -> _sharding_table.ShardingTable:
    """Returns which device holds what of the state of a run: a picture and a table."""
    return _sharding_table.sharding_table(trainer.state_specs)
