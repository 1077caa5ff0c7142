"""Dispatching events to hooks, and checkpointing of their states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from kauldron._base import console, problem_log
from kauldron.train import hooks as hooks_lib


class HookEvents:
    """Calls those hooks that listen to an event.

    Args:
      hooks: Name -> hook.
    """

    def __init__(self, hooks: Mapping[str, hooks_lib.Hook]) -> None:
        self._hooks = hooks
        self._listeners: dict[str, list[tuple[str, Callable[..., None]]]] = {}

    def listeners(self, event: str) -> list[tuple[str, Callable[..., None]]]:
        """Returns name and method of the hooks that override a method."""
        if event not in self._listeners:
            default = getattr(hooks_lib.Hook, event)
            self._listeners[event] = [
                (name, getattr(hook, event))
                for name, hook in self._hooks.items()
                if getattr(type(hook), event) is not default
            ]
        return self._listeners[event]

    def emit(self, event: str, run: hooks_lib.RunControl, **values: Any) -> None:
        """Calls `hook.<event>(run, **values)` of every hook that listens.

        Raises:
          Exception: The first error raised, once all hooks have been called.
        """
        failures: list[Exception] = []
        for name, listener in self.listeners(event):
            try:
                listener(run, **values)
            except Exception as e:
                e.add_note(f"In `{event}` of `cfg.hooks[{name!r}]`.")
                failures.append(e)
        if failures:
            for other in failures[1:]:
                told = [f"{type(other).__name__}: {other}", *other.__notes__]
                failures[0].add_note(f"Then another hook: {' '.join(told)}")
            raise failures[0]

    def emit_log(
        self,
        run: hooks_lib.RunControl,
        problems: problem_log.Problems,
        **values: Any,
    ) -> None:
        """Announces a logging step, in the background; errors of hooks stop nothing."""
        for name, listener in self.listeners("on_log"):
            try:
                listener(run, **values)
            except Exception as e:
                what = f"`on_log` of cfg.hooks[{name!r}]"
                problems.failed(what, e, consequence="; this stops nothing")

    def emit_error(
        self, run: hooks_lib.RunControl, *, step: int, error: BaseException
    ) -> None:
        """Announces an error, which is raised afterwards whatever the hooks do."""
        for name, listener in self.listeners("on_error"):
            try:
                listener(run, step=step, error=error)
            except Exception as e:
                console.warn(
                    f"`on_error` of cfg.hooks[{name!r}] failed.\n{problem_log.explain(e)}"
                )


class HookStates:
    """The states of all hooks that have one, as one item of a checkpoint."""

    is_optional: ClassVar[bool] = True  # earlier checkpoints have none

    def __init__(self, hooks: Mapping[str, Any]) -> None:
        self._hooks = {k: v for k, v in hooks.items() if hasattr(v, "get_state")}

    @classmethod
    def of(cls, hooks: Mapping[str, hooks_lib.Hook]) -> HookStates | None:
        """Resets hooks, and returns their states; `None` if none has any."""
        for hook in hooks.values():
            hook.reset()
        states = cls(hooks)
        return states if states._hooks else None

    def get_state(self) -> dict[str, Any]:
        """Returns name -> state."""
        return {name: hook.get_state() for name, hook in self._hooks.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores saved states; a hook without one is left as it is."""
        for name, hook in self._hooks.items():
            if name in state:
                hook.set_state(state[name])
