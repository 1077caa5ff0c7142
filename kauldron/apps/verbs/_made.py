"""What a kind of run says of the app that is made of it; weights of its members."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kauldron import export, runs
from kauldron.apps.verbs import _layout
from kauldron.evals import file_prediction as files_lib
from kauldron.sharding import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """What a kind of run says of the app that is made of it.

    Attributes:
      interface: What it reads and writes.
      members: Names of the members.
      step: Updates that the first one has seen.
      can_evaluate: Whether it can compare with references.
      allowed_overrides: Globs of paths that calls may set, unless the user says.
      num_classes: Name of an output -> how many classes it has, where that is known.
    """

    interface: files_lib.FileInterface
    members: Sequence[str]
    step: int
    can_evaluate: bool
    allowed_overrides: Sequence[str] = ()
    num_classes: Mapping[str, int] = dataclasses.field(default_factory=dict)


def write_members(
    folder: pathlib.Path,
    trainer: Any,
    first: TrainState,
    further: Sequence[int | str],
    transform: Callable[[TrainState], TrainState],
    *,
    first_step: int,
) -> list[str]:
    """Writes the weights of all members; returns their names.

    Args:
      folder: Of the app.
      trainer: The run.
      first: The state of the first member, as it predicts.
      further: Steps of the run, or workdirs of others.
      transform: From a saved state to one that predicts.
      first_step: Updates that weights had seen before the run.
    """
    name = f"step_{first_step + int(first.step)}"
    names = {name: None}
    export.save_weights(first, folder / _layout.member_file(name))
    for member in further:
        state = transform(runs.restore_member(member, trainer))
        place = str(member).partition("@")[0].rstrip("/").rpartition("/")[2]
        place = re.sub(r"[^\w.-]|^[.-]", "_", place, flags=re.ASCII)
        is_number = isinstance(member, int) or member.isdecimal()
        is_step = is_number or place in ("best", "latest", "")
        base = f"step_{first_step + int(state.step)}" if is_step else place
        number, name = 1, base
        while name in names:
            number += 1
            name = f"{base}_{number}"
        names[name] = None
        export.save_weights(state, folder / _layout.member_file(name))
    return list(names)
