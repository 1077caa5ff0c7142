"""Checkpoint items: named, each an array pytree or a small JSON state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from kauldron.checkpoints import _errors
from kauldron.ktyping import PyTree


@runtime_checkable
class Stateful(Protocol):
    """An object saved as JSON and restored in place, such as a data iterator."""

    def get_state(self) -> Any:
        """Returns the state, as something JSON can express."""

    def set_state(self, state: PyTree) -> None:
        """Takes a state that `get_state` returned."""


@runtime_checkable
class CheckpointItem(Protocol):
    """An object that says how Orbax stores it.

    The arguments choose Orbax's handler. If the object has `__kd_ocp_restore_post__`,
    it makes the result from what Orbax has read.
    """

    def __kd_ocp_save_args__(self) -> Any:
        """Returns `ocp.args.CheckpointArgs` to save with."""

    def __kd_ocp_restore_args__(self) -> Any:
        """Returns `ocp.args.CheckpointArgs` to restore with."""


class StandardCheckpointItem:
    """Restores whatever arrays a checkpoint holds, as nested dicts and lists of NumPy.

    ```python
    tree = checkpointer.restore(kd.ckpts.items.StandardCheckpointItem())
    ```

    Array pytrees need no base class to be saved; deriving from this one changes nothing.
    """

    @staticmethod
    def is_untyped(item: PyTree) -> bool:
        """Whether an item requests whatever exists."""
        return type(item) is StandardCheckpointItem


class TopLevelCheckpointItem:
    """Base of frozen dataclasses whose fields are the items of a checkpoint.

    Each field is an array pytree, a `Stateful` object or a `CheckpointItem`, and becomes
    a folder of the checkpoint with the field's name. `DEFAULT_ITEM` names the field that
    is stored as `state`, as a plain pytree is. The published package stores it as
    `default`, which is read, too. A field that is `None` is left out.
    """

    DEFAULT_ITEM: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]  # subclasses are dataclasses


# Not `default`: Orbax takes that name for a checkpoint of a single item.
DEFAULT_NAME = "state"


# Evaluation metrics are stored there.
METRICS_NAME = "metrics"


def to_items(state: PyTree) -> dict[str, Any]:
    """Returns `{folder name: item}` of what is to be saved or restored.

    Raises:
      CheckpointError: If a field has the folder name of something else.
    """
    if not isinstance(state, TopLevelCheckpointItem):
        return {DEFAULT_NAME: state}
    fields = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    taken = {METRICS_NAME: "what was measured", "default": "an item of Orbax"}
    if state.DEFAULT_ITEM != DEFAULT_NAME:
        taken[DEFAULT_NAME] = f"the field {state.DEFAULT_ITEM!r}"
    for name in fields.keys() & taken.keys():
        if name != state.DEFAULT_ITEM and fields[name] is not None:
            raise _errors.CheckpointError(
                f"The field {name!r} of {type(state).__name__} cannot be saved under its "
                f"name, which is that of {taken[name]}: rename it."
            )
    return {
        DEFAULT_NAME if name == state.DEFAULT_ITEM else name: item
        for name, item in fields.items()
        if item is not None
    }


def check_not_empty(named: Mapping[str, Any]) -> None:
    """Raises if an item holds nothing at all, which has no form on disk.

    Args:
      named: Of `to_items`.

    Raises:
      CheckpointError: If so. An empty dict inside of an item is no error.
    """
    for name, item in named.items():
        if isinstance(item, Mapping | list | tuple) and not item:
            what = "The state" if name == DEFAULT_NAME else f"The item {name!r}"
            raise _errors.CheckpointError(
                f"{what} is {item!r}: there is nothing to save. Put something in it, or "
                "leave it out (`None`)."
            )


def from_items(state: PyTree, restored: dict[str, Any]) -> Any:
    """Returns `state` with its items replaced by restored ones."""
    if not isinstance(state, TopLevelCheckpointItem):
        return restored[DEFAULT_NAME]
    return dataclasses.replace(
        state,
        **{
            state.DEFAULT_ITEM if name == DEFAULT_NAME else name: item
            for name, item in restored.items()
        },
    )
