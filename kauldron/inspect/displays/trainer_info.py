"""A run at a glance: config, data, model, keys, schedules, placement."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kauldron.inspect import _sharding_table, _svg
from kauldron.inspect.displays import (
    batches,
    connections,
    context_trees,
    galleries,
    models,
    parameters,
    schedules,
)

if TYPE_CHECKING:
    from kauldron import train

# Of runs that last until their data end.
_STEPS_SHOWN = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sections:
    """Things to look at, one below the other; notebooks fold them.

    Attributes:
      parts: Title -> what is shown.
    """

    parts: Mapping[str, Any]

    def __getitem__(self, title: str) -> Any:
        return self.parts[title]

    def __str__(self) -> str:
        texts = (
            f"{title}\n{'-' * len(title)}\n{_as_text(part)}"
            for title, part in self.parts.items()
        )
        return "\n\n".join(texts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(
            f"<details{' open' if i == 0 else ''}><summary style='font:600 13px "
            f"system-ui;padding:4px 0'>{html.escape(title)}</summary>{_as_html(part)}"
            "</details>"
            for i, (title, part) in enumerate(self.parts.items())
        )


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
        parts["Modules"] = models.get_colab_model_overview(
            model=trainer.model, train_ds=trainer.train_ds
        )
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


def _as_text(part: Any) -> str:
    if isinstance(part, _svg.Picture):
        return "(a picture: notebooks show it, `.save('x.svg')` writes it)"
    return str(part)


def _as_html(part: Any) -> str:
    if isinstance(part, _svg.Picture):
        return part.svg
    if hasattr(part, "_repr_html_"):
        return part._repr_html_()
    return f"<pre>{html.escape(str(part))}</pre>"
