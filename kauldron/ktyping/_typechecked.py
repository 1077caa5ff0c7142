"""The decorator `@typechecked`."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar, overload

from kauldron.ktyping import _call, _checkers, _config, _fields, _report, _scope

FieldsPolicy = _config.FieldsPolicy
_F = TypeVar("_F")


@overload
def typechecked(
    func: _F, /, *, new_scope: bool = True, fields: FieldsPolicy = "decorated"
) -> _F: ...
@overload
def typechecked(
    *, new_scope: bool = True, fields: FieldsPolicy = "decorated"
) -> Any: ...
def typechecked(
    func: object = None,
    /,
    *,
    new_scope: bool = True,
    fields: FieldsPolicy = "decorated",
) -> Any:
    """Checks arguments and result of every call against the annotations.

    A name in a shape (`b` in `Float["b n"]`) has one size during a call. Under
    `jax.jit` this happens while tracing and costs nothing afterwards.

    Goes on functions (also generators and coroutines), methods, class methods, static
    methods, properties, and dataclasses (whose fields are checked after
    `__post_init__`). `with typechecked():` opens a scope for the block.

    What belongs to Kauldron itself is returned as it is, unless the environment variable
    `KAULDRON_TYPECHECKING=all` was set before it was imported.

    Args:
      func: What to check.
      new_scope: Whether a call has dims of its own. If not, it uses those of the
        `@typechecked` function it is called from.
      fields: Of which dataclasses the fields are looked at when an object is passed:
        `"decorated"`: of those that are `@typechecked` themselves; `"arrays"`: of every
        dataclass, those that are annotated with array types; `"all"`: all of them.
        `Config.fields` wins.

    Raises:
      KTypeCheckError: A `TypeError`, from the call: names the argument, what was seen,
        what was required, and the dims known by then.

    Example:

    ```python
    import numpy as np
    from kauldron import ktyping as kt


    @kt.typechecked
    def pool(x: kt.Float["*b n d"]) -> kt.Float["*b d"]:
        return x.mean(axis=-2)


    assert pool(np.ones((2, 3, 4))).shape == (2, 4)
    ```
    """
    if fields not in typing.get_args(FieldsPolicy):
        allowed = ", ".join(map(repr, typing.get_args(FieldsPolicy)))
        raise ValueError(f"`fields` is one of {allowed}: got {fields!r}.")
    if func is None:
        return _Typechecked(new_scope, fields)
    return _decorate(func, new_scope, fields, label=None)


class _Typechecked:
    """What `typechecked()` returns: a decorator and a context manager."""

    def __init__(self, new_scope: bool, fields: FieldsPolicy):
        self._new_scope = new_scope
        self._fields: FieldsPolicy = fields
        self._tokens: list[Any] = []

    def __call__(self, func: object) -> Any:
        return _decorate(func, self._new_scope, self._fields, label=None)

    def __enter__(self) -> _scope.ShapeScope | None:
        frame = sys._getframe(1)
        config = _config.active(frame.f_globals.get("__name__"))
        if not config.typechecking_enabled:
            self._tokens.append(None)
            return None
        scope = _scope.ShapeScope(
            arguments=frame.f_locals,
            code=_scope.owner_code(frame),
            namespace=frame.f_globals,
        )
        scope.look_into = _fields.LOOK_INTO[config.fields or self._fields]
        self._tokens.append(_scope.push(scope))
        return scope

    def __exit__(self, *exc_info: Any) -> None:
        token = self._tokens.pop()
        if token is not None:
            _scope.pop(token)


def _decorate(
    func: object, new_scope: bool, fields: FieldsPolicy, label: str | None
) -> Any:
    if _config.is_left_alone(getattr(func, "__module__", None)):
        return func
    if isinstance(func, type):
        return _decorate_class(func)
    if isinstance(func, classmethod | staticmethod):
        return type(func)(_decorate(func.__func__, new_scope, fields, label))
    if isinstance(func, property):
        name = getattr(func.fget or func.fset or func.fdel, "__name__", "?")
        label = f"property '{name}'"
        accessors = [
            f and _decorate(f, new_scope, fields, label)
            for f in (func.fget, func.fset, func.fdel)
        ]
        return property(*accessors, doc=func.__doc__)
    if isinstance(func, functools.cached_property):
        label = f"property '{func.func.__name__}'"
        return functools.cached_property(_decorate(func.func, new_scope, fields, label))
    if not callable(func):
        raise TypeError(
            "`@typechecked` goes on functions, methods, properties and dataclasses: "
            f"got {func!r}."
        )
    call = _call.Call(func, label=label, fields=fields)
    if inspect.isgeneratorfunction(func):
        return _wrap_generator(call, new_scope)
    if inspect.iscoroutinefunction(func):
        return _wrap_coroutine(call, new_scope)
    return _wrap_function(call, new_scope)


def _open_scope(
    call: _call.Call,
    new_scope: bool,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    config: _config.Config,
) -> tuple[_scope.ShapeScope, _scope.ShapeScope | None]:
    """Returns the scope of a call, and the one that takes over what it finds out."""
    scope = call.new_scope(args, kwargs)
    scope.look_into = _fields.LOOK_INTO[config.fields or call.fields]
    parent = None if new_scope else _scope._current.get()
    if parent is not None:
        scope.candidates = parent.candidates
    return scope, parent


def _wrap_function(call: _call.Call, new_scope: bool) -> Callable[..., Any]:
    func, module, active = call.func, call.module, _config.active

    @functools.wraps(func)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if kwargs and "_typecheck" in kwargs and not kwargs.pop("_typecheck"):
            return func(*args, **kwargs)
        config = active(module)
        if not config.typechecking_enabled:
            return func(*args, **kwargs)
        scope, parent = _open_scope(call, new_scope, args, kwargs, config)
        token = _scope.push(scope)
        try:
            call.check_arguments(scope)
            result = func(*args, **kwargs)
            call.check_result(scope, result)
        finally:
            _scope.pop(token)
        if parent is not None:
            parent.candidates = scope.candidates
        return result

    return checked


def _wrap_coroutine(call: _call.Call, new_scope: bool) -> Callable[..., Any]:
    func = call.func

    @functools.wraps(func)
    async def checked(*args: Any, **kwargs: Any) -> Any:
        config = _config.active(call.module)
        if not config.typechecking_enabled:
            return await func(*args, **kwargs)
        scope, _ = _open_scope(call, new_scope, args, kwargs, config)
        token = _scope.push(scope)  # a task has a context of its own
        try:
            call.check_arguments(scope)
            result = await func(*args, **kwargs)
            call.check_result(scope, result)
        finally:
            _scope.pop(token)
        return result

    return checked


def _wrap_generator(call: _call.Call, new_scope: bool) -> Callable[..., Any]:
    func = call.func

    @functools.wraps(func)
    def checked(*args: Any, **kwargs: Any) -> Any:
        config = _config.active(call.module)
        if not config.typechecking_enabled:
            return func(*args, **kwargs)
        scope, _ = _open_scope(call, new_scope, args, kwargs, config)
        call.check_arguments(scope)
        args_of_hint = typing.get_args(call.hints.get("return", Any))
        yield_hint = args_of_hint[0] if args_of_hint else Any
        return_hint = args_of_hint[2] if len(args_of_hint) == 3 else Any
        return _drive(func(*args, **kwargs), scope, yield_hint, return_hint)

    return checked


def _drive(
    generator: Generator[Any, Any, Any],
    scope: _scope.ShapeScope,
    yield_hint: object,
    return_hint: object,
) -> Generator[Any, Any, Any]:
    """Runs a generator with its scope in place only while its own code runs."""
    resume: Callable[[], Any] = functools.partial(next, generator)
    try:
        while True:
            with _scope.entered(scope):
                try:
                    item = resume()
                except StopIteration as stop:
                    _call.check("return value", stop.value, return_hint, scope)
                    return stop.value
            # Items may differ from each other in dims that the arguments leave open.
            known = scope.candidates
            if not _checkers.checker(yield_hint)(item, known, scope):
                raise _report.failure("yielded value", item, yield_hint, known, scope)
            try:
                sent = yield item
                resume = functools.partial(generator.send, sent)
            except GeneratorExit:
                raise
            except BaseException as error:
                resume = functools.partial(generator.throw, error)
    finally:
        generator.close()


# JAX and Flax rebuild dataclasses with anything as leaves: sentinels, axes, `None`.
_REBUILDING_MODULES = ("jax.", "jax", "flax.struct", "flax.core", "equinox")


def _decorate_class(decorated: type) -> type:
    if not dataclasses.is_dataclass(decorated):
        raise TypeError(
            f"`@typechecked` goes on dataclasses, but {decorated.__qualname__} is none. "
            "Decorate its methods, or put `@dataclasses.dataclass` below."
        )
    cls: Any = decorated
    init = cls.__init__
    fields = _fields.Fields(cls)

    @functools.wraps(init)
    def checked_init(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if type(self) is not cls:
            return  # a subclass may annotate its fields differently
        if not _config.active(cls.__module__).typechecking_enabled:
            return
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if not caller.startswith(_REBUILDING_MODULES):
            fields.check(self)

    cls.__init__ = checked_init
    cls.__ktyping_fields__ = staticmethod(fields.fit)
    cls.__ktyping_hints__ = staticmethod(lambda: fields.hints)
    return cls
