"""What a checkpoint holds: named items, each an array pytree or a small JSON state."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """An object saved as JSON and restored in place, such as a data iterator."""

    def get_state(self) -> Any:
        """Returns the state, as something JSON can express."""

    def set_state(self, state: Any) -> None:
        """Takes a state that `get_state` returned."""


class TopLevelCheckpointItem:
    """Mixin for `NamedTuple`s whose fields are the items of a checkpoint.

    Each field is an array pytree or a `Stateful` object, and becomes a folder of the
    checkpoint with the field's name. `DEFAULT_ITEM` names the field that is stored as
    `default`, under which a plain pytree is stored too.
    """

    DEFAULT_ITEM: ClassVar[str]


DEFAULT_NAME = "default"


def to_items(state: Any) -> dict[str, Any]:
    """Returns `{folder name: item}` of what is to be saved or restored."""
    default_field = getattr(state, "DEFAULT_ITEM", None)
    if default_field is None:
        return {DEFAULT_NAME: state}
    named = state._asdict()
    return {DEFAULT_NAME if k == default_field else k: v for k, v in named.items()}


def from_items(state: Any, restored: dict[str, Any]) -> Any:
    """Returns `state` with its items replaced by restored ones."""
    default_field = getattr(state, "DEFAULT_ITEM", None)
    if default_field is None:
        return restored[DEFAULT_NAME]
    fields = {default_field if k == DEFAULT_NAME else k: v for k, v in restored.items()}
    return state._replace(**fields)
