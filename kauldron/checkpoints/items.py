"""What a checkpoint holds: named items, each an array pytree or a small JSON state."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """An object saved as JSON and restored in place, such as a data iterator.

    One with an attribute `is_optional = True` is left as it is by a checkpoint that does
    not hold it.
    """

    def get_state(self) -> Any:
        """Returns the state, as something JSON can express."""

    def set_state(self, state: Any) -> None:
        """Takes a state that `get_state` returned."""


class TopLevelCheckpointItem:
    """Base of frozen dataclasses whose fields are the items of a checkpoint.

    Each field is an array pytree or a `Stateful` object, and becomes a folder of the
    checkpoint with the field's name; a field that is `None` does not. `DEFAULT_ITEM` names the field that is stored as
    `default`, under which a plain pytree is stored too.
    """

    DEFAULT_ITEM: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]  # subclasses are dataclasses


# Not `default`: Orbax takes that name for a checkpoint of a single item.
DEFAULT_NAME = "state"


def to_items(state: Any) -> dict[str, Any]:
    """Returns `{folder name: item}` of what is to be saved or restored."""
    if not isinstance(state, TopLevelCheckpointItem):
        return {DEFAULT_NAME: state}
    return {
        DEFAULT_NAME if f.name == state.DEFAULT_ITEM else f.name: getattr(state, f.name)
        for f in dataclasses.fields(state)
        if getattr(state, f.name) is not None
    }


def from_items(state: Any, restored: dict[str, Any]) -> Any:
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
