"""The checkpointed state of a run: its contents, and how it is obtained."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from kauldron import checkpoints, konfig
from kauldron.recording import chrono as chrono_lib
from kauldron.sharding import TrainState
from kauldron.train import _batches, _hook_events, _run_description, _run_files


@dataclasses.dataclass(frozen=True)
class CheckpointState(checkpoints.items.TopLevelCheckpointItem):
    """What a checkpoint of a run holds."""

    train_state: TrainState
    chrono: chrono_lib.Chrono
    ds_iter: _batches.BatchesAhead
    hooks: _hook_events.HookStates | None = None

    DEFAULT_ITEM: ClassVar[str] = "train_state"


def restore_or_init(
    trainer: _run_description.RunDescription,
    batches: _batches.BatchesAhead,
    latest: int | None,
) -> CheckpointState:
    """Returns what the run resumes from, or starts from if `latest` is `None`."""
    # Nothing is on the devices before it is known that the checkpoint fits.
    if latest is None:
        trainer.trainstep.init_transform.check(trainer.state_specs)
    state = trainer.init_state() if latest is None else trainer.state_specs
    run = CheckpointState(
        train_state=state,
        chrono=chrono_lib.Chrono(
            batch_size=getattr(trainer.train_ds, "batch_size", None)
        ),
        ds_iter=batches,
        hooks=_hook_events.HookStates.of(trainer.hooks),
    )
    if latest is None:
        return run
    try:
        return trainer.checkpointer.restore(run)
    except checkpoints.MismatchError as e:
        changes = _changes(trainer)
        if changes is None:
            raise
        raise checkpoints.MismatchError(f"{changes}\n\n{e}") from e


def _changes(trainer: _run_description.RunDescription) -> str | None:
    """Returns what has changed in the config, where that can be said."""
    try:
        return _run_files.describe_changes(trainer)
    except konfig.ConfigError:
        return None
