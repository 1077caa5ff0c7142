"""Public `__module__` names: `kauldron.losses.L2`, whichever file defines it.

A class or function that a room offers has the room as its `__module__`: in `help()`,
reprs, tracebacks, pickles and saved configs. So files may be renamed and split.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any


def publish(room: str) -> Callable[[], list[str]]:
    """Makes the names in a room's `__all__` say that they live there.

    What another room defines, and is offered here as well, keeps its home.

    Args:
      room: `__name__` of the package; called once everything is imported.

    Returns:
      `__dir__` to bind in the package: it lists `__all__`, sorted.

    Example:

    ```python
    __all__ = ["L1", "L2"]

    __dir__ = public.publish(__name__)
    ```
    """
    module = sys.modules[room]
    names = sorted(vars(module)["__all__"])
    publish_names(room, module, names)
    return lambda: names


def publish_names(room: str, module: types.ModuleType, names: Iterable[str]) -> None:
    """Makes names of a module say that they live in a room, if a file of it defines them."""
    for name in names:
        obj = vars(module).get(name)
        if isinstance(obj, type | types.FunctionType):
            is_inside = obj.__module__.startswith(f"{room}.")
            if is_inside and "<locals>" not in obj.__qualname__:
                move(obj, room)


def move(obj: object, home: str) -> None:
    """Makes a class or function say that it lives in the module `home`.

    Classes inside of a class move with it.
    """
    _set_home(obj, home, obj.__module__)


def _set_home(obj: object, home: str, defined_in: str) -> None:
    if isinstance(obj, type):
        for name, value in list(vars(obj).items()):
            is_inside = (
                isinstance(value, type)
                and value.__module__ == defined_in
                and value.__qualname__ == f"{obj.__qualname__}.{name}"
            )
            if is_inside:
                _set_home(value, home, defined_in)
        _evaluate_annotations(obj, defined_in)
    obj.__module__ = home


def _evaluate_annotations(cls: type, defined_in: str) -> None:
    """Evaluates the annotations of a class where its names are known.

    `typing.get_type_hints` looks names up in the module that the class says it lives in.
    """
    written = inspect.get_annotations(cls)
    if not written:
        return
    namespace = vars(sys.modules[defined_in])
    evaluated = {
        name: _evaluate(value, namespace, cls) for name, value in written.items()
    }
    cls.__annotations__ = evaluated


def _evaluate(annotation: object, namespace: dict[str, Any], cls: type) -> Any:
    if isinstance(annotation, typing.ForwardRef):  # of a `NamedTuple`
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation
    try:  # as `typing.get_type_hints` does: names of the module come first
        return eval(annotation, dict(vars(cls)), namespace)
    except NameError:  # of the type checker alone
        return annotation
